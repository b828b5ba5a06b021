"""Sources become documents: HTML, tables, SQL dumps, JSON lines, Parquet, plain text."""
