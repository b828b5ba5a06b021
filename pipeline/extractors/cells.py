"""Cells that hold HTML, BBCode (also as phpBB stores it) or wiki markup become Markdown."""

from __future__ import annotations

import re
from typing import Literal

Format = Literal["text", "markdown", "html", "bbcode", "mediawiki", "mediawiki_title"]


def to_markdown(cell: str, kind: Format, keep_quotes: bool = True, links: bool = False) -> str:
    """The Markdown of a cell; linear in its length whatever it holds.

    ``keep_quotes``: quoted posts stay, as lines that begin with ``>``. ``links``: the addresses of links stay.
    """
    if kind == "html":
        from pipeline.extractors.cell_html import html_markdown  # here and below, because few sources need them

        return html_markdown(cell, keep_quotes, links)
    if kind == "bbcode":
        from pipeline.extractors.cell_bbcode import bbcode_markdown

        return bbcode_markdown(cell, keep_quotes, links)
    if kind == "mediawiki":
        from pipeline.extractors.cell_wiki import wiki_markdown

        return wiki_markdown(cell)
    if kind == "mediawiki_title":
        return cell.replace("_", " ").strip()
    text = cell.replace("\r\n", "\n")
    return text if keep_quotes or kind == "text" else _without_quotes(text)


def _without_quotes(text: str) -> str:
    kept = "\n".join(line for line in text.split("\n") if not line.lstrip(" ").startswith(">"))
    return re.sub(r"\n{3,}", "\n\n", kept).strip()
