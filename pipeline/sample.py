"""Fills a folder with HTML pages of the standard library's documentation: ``python -m pipeline.sample OUT``.

The pages are made on the spot from docstrings, with pydoc; nothing is fetched. The same Python version gives the same bytes on every
machine: no paths, no object addresses, no times. A few pages are made to go wrong on purpose, so that the rules have something to do.
"""

from __future__ import annotations

import importlib
import inspect
import pydoc
import random
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from pipeline.errors import GristmillError, UsageError

# fmt: off
MODULES = (
    "abc", "argparse", "bisect", "calendar", "cmd", "collections", "contextlib", "copy", "csv", "dataclasses", "datetime",
    "difflib", "fileinput", "fnmatch", "fractions", "functools", "getopt", "glob", "graphlib", "heapq", "html", "itertools",
    "json", "operator", "pathlib", "pprint", "queue", "random", "re", "sched", "secrets", "shelve", "shlex", "shutil",
    "statistics", "string", "struct", "tempfile", "textwrap", "timeit",
)
# fmt: on
"""Modules whose docstrings are the same on every platform and hold enough prose to be worth reading."""

MADE = ".made"
"""Written last: a folder that holds it is complete."""

COPIES = {"json.html": "mirror/json.html", "textwrap.html": "mirror/text-wrapping.html"}
"""Pages that stand a second time, byte for byte, under another name."""

PRINTED = "bisect"
"""The module whose page has a printer's version: the same article without what surrounds it."""


class Writer(pydoc.HTMLDoc):
    """pydoc with pages as people write them: headings, paragraphs, lists and code instead of tables and hard spaces."""

    def docmodule(self, object: object, name: str | None = None, mod: str | None = None, *ignored: object) -> str:
        """The article of a module: what its docstring says, then its public functions and classes that have one."""
        assert isinstance(object, ModuleType)
        public = getattr(object, "__all__", None)
        members = [
            (key, value)
            for key, value in inspect.getmembers(object)
            if pydoc.visiblename(key, public, object)
            and (public is not None or inspect.isbuiltin(value) or inspect.getmodule(value) is object)
            and described(value)
        ]
        parts = [f"<h1>{self.escape(object.__name__)}</h1>", *self.prose(object)]
        for title, kind in (("Functions", inspect.isroutine), ("Classes", inspect.isclass)):
            entries = [self.document(value, key) for key, value in members if kind(value)]
            if entries:
                parts += [f"<h2>{title}</h2>", *entries]
        return "\n".join(parts)

    def docclass(self, object: type, name: str | None = None, mod: str | None = None, *ignored: object) -> str:  # type: ignore[override]
        """A class with the methods and properties that it defines itself and describes."""
        parts = [f"<h3><code>class {self.escape((name or object.__name__) + arguments(object))}</code></h3>", *self.prose(object)]
        for key, _, home, value in sorted(inspect.classify_class_attrs(object), key=lambda attribute: attribute.name):
            member = getattr(value, "__func__", value)
            if home is object and not key.startswith("_") and described(member) and not inspect.isclass(member):
                parts.append(self.document(member, key, None, object))
        return "\n".join(parts)

    def docroutine(self, object: object, name: str | None = None, mod: str | None = None, cl: type | None = None, *ignored: object) -> str:  # type: ignore[override]
        """A function under its signature; the methods of a class ``cl`` one heading lower."""
        level = 3 if cl is None else 4
        title = f"<h{level}><code>{self.escape(f'{name}{arguments(object)}')}</code></h{level}>"
        return "\n".join([title, *self.prose(object)])

    def docdata(self, object: object, name: str | None = None, mod: str | None = None, cl: type | None = None, *ignored: object) -> str:
        """A property under its name."""
        return "\n".join([f"<h4><code>{self.escape(str(name))}</code></h4>", *self.prose(object)])

    docproperty = docdata

    def docother(self, object: object, name: str | None = None, mod: str | None = None, *ignored: object) -> str:
        """Nothing: values differ from machine to machine."""
        return ""

    def prose(self, subject: object) -> Iterator[str]:
        """The docstring of ``subject`` as blocks of HTML."""
        return self.formatted(inspect.getdoc(subject) or "")

    def formatted(self, text: str) -> Iterator[str]:
        """A docstring as blocks of HTML."""
        for kind, lines in blocks(text):
            opening, closing = MARKS[kind]
            between = "</li>\n<li>" if kind in ("list", "numbers") else "\n"
            yield opening + between.join(map(self.escape, lines)) + closing


MARKS = {
    "paragraph": ("<p>", "</p>"),
    "heading": ("<h2>", "</h2>"),
    "code": ("<pre><code>", "</code></pre>"),
    "list": ("<ul>\n<li>", "</li>\n</ul>"),
    "numbers": ("<ol>\n<li>", "</li>\n</ol>"),
}
"""What stands around each kind of block."""


def described(subject: object) -> bool:
    """Whether ``subject`` is a routine, class or property with a docstring of its own."""
    documented = isinstance(getattr(subject, "__doc__", None), str) and bool(subject.__doc__)
    return documented and (inspect.isroutine(subject) or inspect.isclass(subject) or inspect.isdatadescriptor(subject))


def arguments(subject: object) -> str:
    """The signature of a callable without object addresses; ``(...)`` where it has none to show."""
    try:
        return _ADDRESS.sub("", str(inspect.signature(subject)))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return "(...)"


_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+(?=>)")
_ITEM = re.compile(r"(?:[-*+]|\d+\.) +(?=\S)")
_ALIGNED = re.compile(r"[^\s.:?!;,)] {2,}\S")
_MIN_WRAPPED_CHARS = 40
"""A line of wrapped prose is longer; where shorter ones stand in the middle, the line breaks mean something."""


def blocks(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """The blocks of a docstring as (kind, lines), the kinds of ``MARKS``; a list has a line an item, and neighbouring code is one block."""
    code: list[str] = []
    for chunk in re.split(r"\n(?:[^\S\n]*\n)+", docstring.expandtabs()):
        for kind, lines in _split([line for line in chunk.split("\n") if line.strip()]):
            if kind == "code":
                code += ["", *lines] if code else lines
                continue
            if code:
                yield "code", textwrap.dedent("\n".join(code)).split("\n")
                code = []
            yield kind, lines
    if code:
        yield "code", textwrap.dedent("\n".join(code)).split("\n")


def _split(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    if not lines:
        return
    cut = next((i for i in range(1, len(lines)) if _starts_block(lines[i - 1], lines[i])), None)
    first = lines[0].lstrip()
    if len(lines) > 1 and re.fullmatch(r"([-=~])\1{2,}", lines[1]):
        yield "heading", lines[:1]
        yield from _split(lines[2:])
    elif first.startswith(">>>"):
        yield "code", lines
    elif cut and not lines[0].startswith("  "):
        yield from _split(lines[:cut])
        yield from _split(lines[cut:])
    elif _ITEM.match(first):
        yield ("numbers" if first[0].isdigit() else "list"), _items(lines)
    elif _is_verbatim(lines):
        yield "code", lines
    else:
        yield "paragraph", [line.strip() for line in lines]


def _starts_block(before: str, line: str) -> bool:
    if line.lstrip().startswith(">>>"):
        return True
    opened = before.endswith(":") and not before.startswith("  ")
    return opened and (line.startswith("  ") or _ITEM.match(line) is not None)


def _is_verbatim(lines: Sequence[str]) -> bool:
    ragged = any(len(line) < _MIN_WRAPPED_CHARS for line in lines[:-1])
    return ragged or any(line.startswith("  ") or _ALIGNED.search(line) for line in lines)


def _items(lines: Sequence[str]) -> list[str]:
    items: list[str] = []
    for line in map(str.strip, lines):
        mark = _ITEM.match(line)
        if mark:
            items.append(line[mark.end() :])
        else:
            items[-1] += f" {line}"
    return items


def page(title: str, article: str, charset: str = "utf-8") -> str:
    """A whole page: the article between the menu, the list of modules and the footer that an extractor should leave out."""
    menu = " ".join(f'<a href="{href}.html">{text}</a>' for href, text in (("index", "Home"), ("modules", "Modules"), ("search", "Search")))
    others = "\n".join(f'<li><a href="{name}.html">{name}</a></li>' for name in MODULES)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="{charset}">
<title>{title} - Python standard library</title>
<style>body {{ font-family: sans-serif; max-width: 60em; margin: auto; }} nav, footer {{ color: gray; }}</style>
</head>
<body>
<header><nav class="menu">{menu}</nav></header>
<main>
<article>
{article}
</article>
</main>
<aside class="sidebar"><h4>All modules</h4>
<ul>
{others}
</ul>
</aside>
<footer><p>Made by pydoc. The documentation of Python is under the PSF License Agreement.</p></footer>
<script>document.title = document.title.trim();</script>
</body>
</html>
"""


def pages() -> dict[str, bytes]:
    """Every page of the sample by its path (with ``/``): a page a module, then the copies and the odd ones."""
    writer = Writer()
    articles = {name: writer.document(importlib.import_module(name)) for name in MODULES}
    made = {f"{name}.html": page(name, article).encode() for name, article in articles.items()}
    made |= {copy: made[name] for name, copy in COPIES.items()}
    bare = f"<html><head><title>{PRINTED}</title></head>\n<body>\n<article>\n{articles[PRINTED]}\n</article>\n</body></html>\n"
    made[f"print/{PRINTED}.html"] = bare.encode()

    title, _, theory = importlib.import_module("heapq").__about__.partition("\n\n")
    latin = page(title, "\n".join([f"<h1>{title}</h1>", *writer.formatted(theory)]), "iso-8859-1")
    made["heap-theory.html"] = latin.encode("iso-8859-1")
    made["empty.html"] = b"<!DOCTYPE html>\n<html><head><title></title></head><body></body></html>\n"
    made["picture.html"] = b"\x89PNG\r\n\x1a\n" + random.Random(2).randbytes(4096)
    return made


def fill(out: Path) -> int:
    """Make the sample in ``out`` whole or not at all, and give the number of pages; 0 when ``out`` is already complete.

    Raises UsageError when ``out`` holds anything else, GristmillError when Python runs without docstrings.
    """
    if (out / MADE).exists():
        return 0
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(str(out), "exists and is not a finished sample", "name another folder, or remove this one")
    if sys.flags.optimize >= 2:
        raise GristmillError("python -OO", "leaves out the docstrings the pages are made of", "run without -OO and PYTHONOPTIMIZE")
    made = pages()
    out = out.absolute()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in made.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    version = ".".join(map(str, sys.version_info[:3]))
    (partial / MADE).write_text(f"{len(made)} pages, Python {version}\n", encoding="utf-8")
    partial.rename(out)
    return len(made)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; gives the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    if len(given) != 1 or given[0].startswith("-"):
        print("usage: python -m pipeline.sample OUT\n\nFill the folder OUT with HTML pages of the standard library's documentation.")
        return 0 if given in (["-h"], ["--help"]) else 2
    out = Path(given[0])
    try:
        num_pages = fill(out)
    except GristmillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or out}: cannot be written ({error.strerror}); name another folder", file=sys.stderr)
        return 1
    print(f"{out}: {num_pages} pages made" if num_pages else f"{out}: already made")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
