"""MediaWiki's markup reduced to Markdown: headings, emphasis, lists and the text of links stay; templates, tables, references and files go."""

from __future__ import annotations

import html
import re

from pipeline.extractors.cell_html import TAG, Ends, html_ends

_TOKEN = re.compile(r"\{\{|\}\}|\{\||\|\}|\[\[|\]\]|'{2,5}|<!--|" + TAG.pattern)
_OUTER_LINK = re.compile(r"\[((?:https?|ftp)://[^\s\[\]<>]++|mailto:[^\s\[\]<>]++)(?:\s++([^\[\]\n]*+))?\]")
_WHOLE = frozenset(("ref", "math", "gallery", "timeline", "score", "imagemap", "templatestyles", "references", "includeonly", "script", "style"))
_CODE = frozenset(("nowiki", "pre", "source", "syntaxhighlight", "code"))
_HEADING = re.compile(r"(={1,6})\s*+(.+?)\s*\1\s*")
_LIST = re.compile(r"([*#:;]++)\s*+(.*)")
_SWITCH = re.compile(r"__[A-Z]{3,20}__")
_FILES = re.compile(r"(?:file|image|category|datei|bild|kategorie|fichier|catégorie|archivo|categoría|media)\s*:", re.I)
_STAR = "\ue02a"
"""Stands for the stars of emphasis until lists are known, since those begin with stars in wikis."""
_MARKS = {2: _STAR, 3: _STAR * 2, 4: _STAR * 2 + "'", 5: _STAR * 3}
_EMPHASIS = {"b": 2, "strong": 2, "i": 1, "em": 1}
_BLANKS = re.compile(r"[ \t]{2,}")
_REDIRECT = re.compile(r"\s*#[A-Z]{5,20}:?\s*\[\[", re.I)


def wiki_markdown(cell: str) -> str:
    """The text of a page in Markdown; linear in its length. A page that only leads to another one has none."""
    if _REDIRECT.match(cell):
        return ""
    text = _OUTER_LINK.sub(lambda link: link[2] or "", cell.replace("\r\n", "\n"))
    return _lines(_Page(text).inline())


class _Page:
    """One pass over the marks that open and close; what stands in templates, tables and file links is left out."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends: Ends = html_ends(text)
        self._stack: list[tuple[str, list[str]]] = [("", [])]
        self._has = {mark: text.rfind(mark) for mark in ("}}", "|}", "]]", "-->")}

    def inline(self) -> str:
        at = 0
        while (token := _TOKEN.search(self._text, at)) is not None:
            self._put(html.unescape(self._text[at : token.start()]))
            at = self._read(token)
        self._put(html.unescape(self._text[at:]))
        while len(self._stack) > 1:
            mark, pieces = self._stack.pop()
            if mark == "[[":
                self._put("[[" + "".join(pieces))
        return "".join(self._stack[0][1])

    def _put(self, piece: str) -> None:
        if piece and self._stack[-1][0] not in ("{{", "{|"):
            self._stack[-1][1].append(piece)

    def _read(self, token: re.Match[str]) -> int:
        mark = token[0]
        if mark in ("{{", "{|", "[["):
            if self._has[{"{{": "}}", "{|": "|}", "[[": "]]"}[mark]] > token.start():
                self._stack.append((mark, []))
            else:
                self._put(mark)
        elif mark in ("}}", "|}", "]]"):
            self._close({"}}": "{{", "|}": "{|", "]]": "[["}[mark], mark)
        elif mark.startswith("''"):
            self._put(_MARKS[len(mark)])
        elif mark == "<!--":
            return self._text.find("-->", token.end()) + 3 if self._has["-->"] > token.start() else token.end()
        else:
            return self._tag(token)
        return token.end()

    def _close(self, opening: str, mark: str) -> None:
        if self._stack[-1][0] != opening:
            if opening == "[[":
                self._put(mark)
            elif any(name == opening for name, _ in self._stack[-8:]):
                while self._stack[-1][0] != opening:
                    self._stack.pop()
                self._stack.pop()
            else:
                self._put(mark)
            return
        pieces = "".join(self._stack.pop()[1])
        if opening == "[[":
            self._put(_link(pieces))

    def _tag(self, token: re.Match[str]) -> int:
        name = token["name"].lower()
        if name in _EMPHASIS:
            self._put(_STAR * _EMPHASIS[name])
            return token.end()
        if token["close"] or token["inside"].endswith("/"):
            self._put("\n" if name == "br" else "")
            return token.end()
        if name in _WHOLE or name in _CODE:
            end = self._ends.find(name, token.end())
            if end is not None:
                inside = html.unescape(self._text[token.end() : end.start()])
                if name in _CODE:
                    self._put(f"\n```\n{inside.strip(chr(10))}\n```\n" if "\n" in inside else inside if name == "nowiki" else f"`{inside}`")
                return end.end()
        self._put("\n" if name in ("br", "p", "div", "li", "blockquote") else "")
        return token.end()


def _link(inside: str) -> str:
    """What a reader sees of ``[[target|text]]``: nothing of files and categories."""
    target, bar, text = inside.partition("|")
    if _FILES.match(target.strip()):
        return ""
    shown = text if bar and text.strip() else target.strip().removeprefix(":")
    return shown.rpartition("|")[2] if bar else shown


def _lines(text: str) -> str:
    """Headings and lists as Markdown writes them, empty lines once."""
    out: list[str] = []
    in_code = False
    numbers: dict[int, int] = {}
    for line in text.split("\n"):
        if line == "```":
            in_code = not in_code
        elif not in_code:
            line = _line(_BLANKS.sub(" ", _SWITCH.sub("", line)).rstrip(), numbers)
        if line or in_code or (out and out[-1]):
            if line.startswith("#") and not in_code and out and out[-1]:
                out.append("")
            out.append(line)
    return "\n".join(out).replace(_STAR, "*").strip()


def _line(line: str, numbers: dict[int, int]) -> str:
    heading = _HEADING.fullmatch(line) if line.startswith("=") else None
    if heading:
        numbers.clear()
        return f"{'#' * len(heading[1])} {heading[2]}"
    item = _LIST.fullmatch(line) if line[:1] in ("*", "#", ":", ";") else None
    if item is None:
        numbers.clear()
        return line
    depth, kind = min(len(item[1]), 8), item[1][-1]
    if kind in ":;":
        return f"**{item[2]}**" if kind == ";" and item[2] else item[2]
    for deeper in [level for level in numbers if level > depth]:
        del numbers[deeper]
    if kind == "*":
        return "  " * (depth - 1) + "- " + item[2]
    numbers[depth] = numbers.get(depth, 0) + 1
    return "  " * (depth - 1) + f"{numbers[depth]}. {item[2]}"
