"""Whole texts on standard output, line by line as they are, in the colours of their parts."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.inspection.shown import Page


class TextPage(Page):
    """A page that shows text with its own line ends."""

    def runs(self, parts: Sequence[tuple[str, str]]) -> None:
        """Parts of a text, each with its style, one after the other; what a terminal would obey is spelled out."""
        from rich.text import Text

        self._console.print(Text.assemble(*((_printable(text), style) for text, style in parts)))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)
