"""The report: one page that shows what became of the sources, from the first unit read to the last token."""
