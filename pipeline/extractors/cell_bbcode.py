"""BBCode, as boards store it: with the marks of phpBB (``[quote:1a2b3c]``), escaped characters, smilies and stray HTML."""

from __future__ import annotations

import html
import re

from pipeline.extractors.cell_html import KNOWN, TAG, Ends, Tags, content, html_ends, is_s9e, plain, s9e_markdown
from pipeline.extractors.cell_markdown import Writer

_TOKEN = re.compile(
    r"\[(?P<end>/?)(?P<code>[A-Za-z]++[1-6]?+|\*)"
    r"(?P<told>(?:=(?:\"[^\"\n]{0,200}+\"|&quot;(?:(?!&quot;)[^\n\]]|\](?=[^\n\[\]]{0,60}+&quot;)){0,200}+&quot;))?+(?:[=:\s][^\[\]\n]{0,500}+)?+)\]"
    r"|<!--|" + TAG.pattern
)
_UID = re.compile(r":(?:[a-z]:)?([0-9a-z]{5,10})$")
_USES_UID = re.compile(r"\[(?:b|i|u|quote|code|list|url|\*)(?:=[^\[\]\n]{0,200}+)?+:(?:[a-z]:)?([0-9a-z]{5,10})\]")
_BREAK = re.compile(r"<br\s*+/?+>(?:\r?\n)?", re.I)

_EMPHASIS = {"b": "b", "i": "i", "s": "s", "strike": "s"}
_CODE = frozenset(("code", "php", "html", "codebox", "pre", "syntax", "icode", "c"))
_VERBATIM = frozenset(("noparse", "nobbc", "plain"))
_UNSEEN = frozenset(("img", "image", "thumb", "video", "youtube", "media", "attachment", "attach", "flash", "gallery"))
_PLAIN = frozenset(
    (
        *("u", "size", "color", "colour", "font", "face", "highlight", "bgcolor", "sub", "sup", "tt", "glow", "shadow", "move", "email", "user"),
        *("mention", "ispoiler", "acronym", "abbr", "justify", "left", "right", "center", "align", "indent", "spoiler", "hide", "table", "tbody"),
    )
)
_BLOCKS = {"tr": "line", "td": "cell", "th": "cell", "h": "h3", "heading": "h3", "li": "item", "*": "item", **{f"h{n}": f"h{n}" for n in range(1, 7)}}
_LISTS = frozenset(("list", "ul", "ol"))
_WITHOUT_END = frozenset(("*", "hr", "br", "attach", "attachment"))
_NAMES = frozenset((*_EMPHASIS, *_CODE, *_VERBATIM, *_UNSEEN, *_PLAIN, *_BLOCKS, *_LISTS, *_WITHOUT_END, "url", "link", "quote"))

_AUTHOR = re.compile(r"\s*(?:author\s*)?=\s*(?:\"([^\"]*)\"|'([^']*)'|([^;\"']*?)(?:\s+\w+=|;|$))", re.I)
_XENFORO = re.compile(r", (?:post|member|userid): .*")


def bbcode_markdown(cell: str, keep_quotes: bool, links: bool) -> str:
    """The Markdown of a post in BBCode."""
    if is_s9e(cell):
        return s9e_markdown(cell, keep_quotes, links)
    return _Post(_BREAK.sub("\n", cell.replace("\r\n", "\n")), keep_quotes, links).markdown()


class _Post:
    def __init__(self, cell: str, keep_quotes: bool, links: bool) -> None:
        self._cell = cell
        self._writer = Writer(keep_lines=True, keep_quotes=keep_quotes)
        self._tags = Tags(self._writer, links)
        self._html_ends = html_ends(cell)
        self._ends = Ends(cell, lambda name: f"\\[/{name}(?::[^\\[\\]\\n]{{0,20}})?\\]")
        self._last_end: dict[str, int] = {}
        uses = _USES_UID.search(cell)
        self._uid = uses[1] if uses and cell.count(f":{uses[1]}]") > 1 else None
        self._no_comment_end = False

    def markdown(self) -> str:
        at = 0
        while (token := _TOKEN.search(self._cell, at)) is not None:
            self._text(self._cell[at : token.start()])
            at = self._read(token)
        self._text(self._cell[at:])
        return self._writer.markdown()

    def _text(self, text: str) -> None:
        if text:
            self._writer.text(html.unescape(text))

    def _read(self, token: re.Match[str]) -> int:
        """Write one token; gives where to read on."""
        if token[0] == "<!--":
            return self._comment(token)
        if token["code"]:
            return self._code_tag(token)
        name = token["name"].lower()
        if name not in KNOWN:
            self._text(token[0])
            return token.end()
        at = token.end() if token["close"] else content(token, self._html_ends, self._writer, self._cell)
        if at == token.end():
            self._tags.tag(name, bool(token["close"]), token["inside"])
        return at

    def _comment(self, token: re.Match[str]) -> int:
        end = -1 if self._no_comment_end else self._cell.find("-->", token.end())
        if end < 0:
            self._no_comment_end = True
            self._text(token[0])
            return token.end()
        return end + 3

    def _code_tag(self, token: re.Match[str]) -> int:
        name, told, ends = token["code"].lower(), token["told"], bool(token["end"])
        uid = _UID.search(told)
        is_known = name in _NAMES and (self._uid is None or (uid is not None and uid[1] == self._uid))
        if not is_known or (not ends and not self._has_end(name, token.end())):
            self._text(token[0])
            return token.end()
        told = html.unescape(told[: uid.start()] if uid else told)
        if not ends and name in (*_CODE, *_VERBATIM, *_UNSEEN):
            return self._content(name, token)
        if name in _LISTS:
            (self._writer.end if ends else self._writer.start)("list", *(("1",) if not ends and (name == "ol" or told.startswith("=")) else ()))
        elif name in _EMPHASIS:
            (self._writer.end if ends else self._writer.start)(_EMPHASIS[name])
        elif name in _BLOCKS:
            if not (ends and name == "*"):
                (self._writer.end if ends else self._writer.start)(_BLOCKS[name])
        elif name == "quote":
            self._quote(ends, told)
        elif name in ("url", "link"):
            if ends:
                self._writer.end("link")
            else:
                self._writer.start("link", self._tags.address(told.strip(" =\"'")))
        elif name in ("hr", "br"):
            self._writer.start("p") if name == "hr" else self._writer.line_break()
        return self._after(name, ends, token.end())

    def _after(self, name: str, ends: bool, at: int) -> int:
        """The line feed after a block's mark belongs to the mark."""
        is_block = name in ("quote", "hr") or name in _LISTS or name in _BLOCKS
        return at + 1 if is_block and self._cell.startswith("\n", at) and (not ends or name != "*") else at

    def _has_end(self, name: str, at: int) -> bool:
        """Whether an end of ``name`` stands anywhere after ``at``: without one it is text, such as the ``[i]`` of an array."""
        if name in _WITHOUT_END:
            return True
        if name not in self._last_end:
            found = [match.start() for match in re.finditer(rf"\[/{re.escape(name)}[:\]]", self._cell, re.I)]
            self._last_end[name] = found[-1] if found else -1
        return self._last_end[name] >= at

    def _content(self, name: str, token: re.Match[str]) -> int:
        """Write what stands in ``[code]`` as it is, and pass over pictures and films."""
        end = self._ends.find(name, token.end())
        if end is None:
            return token.end()
        inside = self._cell[token.end() : end.start()]
        if name in _CODE:
            self._writer.code(plain(inside))
        elif name in _VERBATIM:
            self._text(inside)
        return end.end()

    def _quote(self, ends: bool, told: str) -> None:
        if ends:
            self._writer.end("quote")
            return
        author = _AUTHOR.match(told)
        name = next(filter(None, author.groups()), "") if author else ""
        self._writer.start("quote", _XENFORO.sub("", name))
