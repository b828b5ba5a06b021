"""The heads of the statements that bring rows: INSERT and REPLACE up to VALUES, and COPY up to its first line of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.extractors.sql_strings import content, unquoted_name
from pipeline.extractors.sql_syntax import IncompleteError, Lexer, MalformedError, Syntax, Token

MAX_HEAD_TOKENS = 200_000


@dataclass(frozen=True, slots=True)
class InsertHead:
    """``name``: the parts of the table's name. ``form``: VALUES, SET, or the word that begins rows only a database can work out.

    ``conflict``: what REPLACE, INSERT IGNORE and INSERT OR .. say about rows of the same key.
    """

    name: tuple[str, ...]
    columns: tuple[str, ...] | None
    form: str
    conflict: Literal["replace", "ignore"] | None = None


@dataclass(frozen=True, slots=True)
class CopyHead:
    """COPY .. FROM stdin with its options, in PostgreSQL's words."""

    name: tuple[str, ...]
    columns: tuple[str, ...] | None
    delimiter: bytes
    null: bytes
    is_csv: bool = False
    has_header: bool = False
    quote: bytes = b'"'
    escape: bytes = b'"'


class Head:
    """A cursor over the tokens of a head. It reads at most ``MAX_HEAD_TOKENS``."""

    def __init__(self, lexer: Lexer, data: bytes, pos: int, is_last: bool) -> None:
        self.lexer, self.data, self._is_last = lexer, data, is_last
        self._num_tokens = 0
        self.token = Token("punct", pos, pos)
        self.text = b""
        self.step()

    @property
    def syntax(self) -> Syntax:
        """How the text is read."""
        return self.lexer.syntax

    def step(self) -> None:
        """Go to the next token."""
        self._num_tokens += 1
        if self._num_tokens > MAX_HEAD_TOKENS:
            raise MalformedError("too long: a statement begins and never comes to its rows", self.token.end)
        self.token = self.lexer.token(self.data, self.token.end, self._is_last)
        self.text = self.data[self.token.start : self.token.end]

    @property
    def word(self) -> str:
        """The token in upper case when it is a word or punctuation, else its kind."""
        return self.text.upper().decode("latin-1") if self.token.kind in ("word", "punct") else self.token.kind

    def skip(self, *words: str) -> bool:
        """Go past one token if it is one of ``words``."""
        if self.word not in words:
            return False
        self.step()
        return True

    def fail(self, expected: str) -> MalformedError:
        """The error that something else was expected here."""
        found = self.text[:40].decode("utf-8", "replace")
        if self.token.kind == "end":
            return MalformedError(f"cut short: the file ends where {expected} is expected", self.token.end)
        return MalformedError(f"no valid SQL: {expected} is expected, not {found!r}", self.token.end)

    def name(self) -> tuple[str, ...]:
        """A name with dots."""
        parts = [self._name_part()]
        while self.skip("."):
            if self.word != ".":
                parts.append(self._name_part())
        return tuple(parts)

    def _name_part(self) -> str:
        if self.token.kind not in ("word", "name", "string"):
            raise self.fail("a name")
        part = unquoted_name(self.text, self.syntax)
        self.step()
        return part

    def columns(self) -> tuple[str, ...] | None:
        """A bracketed list of columns; None, and nothing read, when brackets hold something else or there are none."""
        if self.word != "(":
            return None
        before = self.token
        self.step()
        if self.word in ("SELECT", "WITH", "VALUES", "("):
            self.token, self.text = before, b"("
            return None
        names: list[str] = []
        while not self.skip(")"):
            names.append(self.name()[-1])
            if self.word != ")" and not self.skip(","):
                raise self.fail("a comma between columns")
        return tuple(names)

    def skip_brackets(self) -> None:
        """Go past a bracketed group."""
        depth = 0
        while True:
            depth += (self.word == "(") - (self.word == ")")
            if self.token.kind in ("end", "delimiter"):
                raise self.fail("a closing bracket")
            self.step()
            if depth <= 0:
                return


_QUALIFIERS = ("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "OVERWRITE", "INTO", "TABLE", "ONLY")
_FORMS = ("VALUES", "VALUE", "SET", "SELECT", "WITH", "DEFAULT", "EXEC", "EXECUTE", "(")


def read_insert(lexer: Lexer, data: bytes, pos: int, is_last: bool) -> tuple[int, InsertHead]:
    """The head of the INSERT or REPLACE at ``pos``, and the index behind it. Raises IncompleteError and MalformedError."""
    head = Head(lexer, data, pos, is_last)
    words = [head.word]
    head.step()
    if head.skip("OR"):
        words.append(head.word)
        head.step()
    while head.word in _QUALIFIERS:
        words.append(head.word)
        head.step()
    name = head.name()
    if head.skip("PARTITION", "WITH"):
        head.skip_brackets()
    if head.skip("AS"):
        head.step()
    columns = head.columns()
    if head.skip("OVERRIDING"):
        head.step()
        head.step()
    if head.skip("OUTPUT"):
        while head.word not in _FORMS and head.token.kind not in ("end", "delimiter"):
            head.step()
    form = "VALUES" if head.word == "VALUE" else head.word
    if form not in _FORMS:
        raise head.fail("VALUES")
    return head.token.end, InsertHead(name, columns, form, "replace" if "REPLACE" in words else "ignore" if "IGNORE" in words else None)


def read_copy(lexer: Lexer, data: bytes, pos: int, is_last: bool) -> tuple[int, CopyHead | None]:
    """The head of the COPY at ``pos`` and the index of its first line of data; None for a COPY that no data follows."""
    head = Head(lexer, data, pos, is_last)
    head.step()
    head.skip("BINARY")
    if head.word == "(":
        head.skip_brackets()
        return _end_of_statement(head), None
    name = head.name()
    columns = head.columns()
    if not (head.skip("FROM") and head.skip("STDIN")):
        return _end_of_statement(head), None
    options: list[tuple[str, bytes]] = []
    while head.token.kind not in ("end", "delimiter"):
        options.append((head.word, head.text))
        head.step()
    line = data.find(b"\n", head.token.end)
    if line < 0 and not is_last:
        raise IncompleteError
    if line < 0:
        raise MalformedError("cut short: the file ends where the data of a COPY is expected", len(data))
    return line + 1, _copy_head(name, columns, options, head)


def _end_of_statement(head: Head) -> int:
    while head.token.kind not in ("end", "delimiter"):
        head.step()
    return head.token.end


def _copy_head(name: tuple[str, ...], columns: tuple[str, ...] | None, options: list[tuple[str, bytes]], head: Head) -> CopyHead:
    words = [word for word, _ in options]
    if "BINARY" in words:
        raise MalformedError("no valid SQL: COPY data in binary form cannot stand in a text dump", head.token.end)
    is_csv = "CSV" in words
    given: dict[str, bytes] = {}
    for index, word in enumerate(words):
        if word in ("DELIMITER", "DELIMITERS", "NULL", "QUOTE", "ESCAPE"):
            at = index + 2 if words[index + 1 : index + 2] == ["AS"] else index + 1
            if words[at : at + 1] == ["string"]:
                given[word.rstrip("S")] = content(options[at][1], head.syntax)
    header = words.index("HEADER") + 1 if "HEADER" in words else 0
    quote = given.get("QUOTE", b'"')
    return CopyHead(
        name,
        columns,
        delimiter=given.get("DELIMITER", b"," if is_csv else b"\t"),
        null=given.get("NULL", b"" if is_csv else b"\\N"),
        is_csv=is_csv,
        has_header=header > 0 and words[header : header + 1] not in (["FALSE"], ["OFF"]),
        quote=quote,
        escape=given.get("ESCAPE", quote),
    )
