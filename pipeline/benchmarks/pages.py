"""Main text of web pages: this package beside trafilatura, resiliparse and BeautifulSoup on the same pages, in one process."""

from __future__ import annotations

import json
import math
import os
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pipeline import decoding, sample
from pipeline.benchmarks.costs import Cost
from pipeline.benchmarks.table import Compared, Result, Setup, Table
from pipeline.documents import Document
from pipeline.errors import UsageError
from pipeline.extractors.html import HtmlSettings, extract_page

GIVEN = Path("../shared/gold/html")
"""Looked for where BENCH_PAGES names no folder: ``gold.jsonl`` with ``id, html_path, text`` beside the pages."""

_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+")

Extract = Callable[[bytes], str]


OURS = "this package, to text and metadata"


@dataclass(frozen=True)
class Page:
    """A page's bytes, and the words of its main text where they are known."""

    data: bytes
    gold: Counter[str] | None = None


def measure(setup: Setup) -> Result:
    """The benchmark: pages a CPU second of each tool, and its mean word F1 where main texts are given."""
    pages, origin = load()
    tools = {OURS: _own, "BeautifulSoup + lxml, get_text": _soup}
    if setup.with_peers:
        tools |= {"trafilatura": _trafilatura, "trafilatura, Markdown with metadata": _trafilatura_markdown}
        tools |= {"resiliparse, main_content": _resiliparse}
    tools = {name: extract for name, extract in tools.items() if _runs(extract)}
    seconds, texts = run(tools, [page.data for page in pages], setup.runs)
    about = [
        "Each tool gets the bytes of the same pages, one after the other in one process, in turns; the least time of each page counts.",
        "This package also decodes, reads the metadata and writes Markdown; trafilatura and BeautifulSoup decode, resiliparse is given text.",
        f"Pages: {len(pages):,}, {sum(len(page.data) for page in pages) / 1e6:.1f} MB, from {origin}.",
    ]
    base = seconds.get("trafilatura")
    rows, qualities = [], {}
    for name, spent in sorted(seconds.items(), key=lambda item: item[1]):
        scores = [f1(text, page.gold) for text, page in zip(texts[name], pages, strict=True) if page.gold is not None]
        quality = [f"{sum(scores) / len(scores):.3f}", f"{sum(score < 0.5 for score in scores) / len(scores):.1%}"] if scores else ["-", "-"]
        qualities[name] = quality[0]
        rows.append([name, f"{len(pages) / spent:.1f}", f"{base / spent:.1f}" if base else "-", *quality])
    table = Table("Pages to text", ("", "pages per CPU s", "times trafilatura", "mean word F1", "pages under .5"), rows)
    peers = {name: spent for name, spent in seconds.items() if name != OURS}
    ours = _in_process(seconds[OURS])
    compared = [Compared("main text", name, ours, _in_process(spent), f"F1 {qualities[OURS]}, {qualities[name]}") for name, spent in peers.items()]
    return Result("Main text of pages", about, ["python -m pipeline.benchmarks pages"], [table], from_corpus=False, compared=compared)


def load() -> tuple[list[Page], str]:
    """Pages with their main text from BENCH_PAGES or the usual place, else the pages of the sample, and where they come from."""
    named = os.environ.get("BENCH_PAGES")
    given = Path(named) if named else GIVEN
    gold = given / "gold.jsonl"
    if gold.is_file():
        rows = [json.loads(line) for line in gold.read_text(encoding="utf-8").split("\n") if line]
        return [Page((given / row["html_path"]).read_bytes(), Counter(words(row["text"]))) for row in rows], "pages with their main text"
    if named:
        raise UsageError(named, "has no gold.jsonl", "name a folder with gold.jsonl and its pages, or unset BENCH_PAGES")
    return [Page(data) for name, data in sorted(sample.pages().items()) if data and name.endswith(".html")], "the sample"


def _in_process(cpu_seconds: float) -> Cost:
    """Of what ran beside others in one process the CPU seconds alone are known."""
    return Cost(cpu_seconds, math.nan, math.nan)


def run(tools: Mapping[str, Extract], pages: Sequence[bytes], runs: int) -> tuple[dict[str, float], dict[str, list[str]]]:
    """CPU seconds of each tool for all pages, the least of ``runs`` for each page, and the texts."""
    least = {name: [float("inf")] * len(pages) for name in tools}
    texts: dict[str, list[str]] = {name: [""] * len(pages) for name in tools}
    for _ in range(runs):
        for number, data in enumerate(pages):
            for name, extract in tools.items():
                started = time.process_time()
                texts[name][number] = extract(data)
                least[name][number] = min(least[name][number], time.process_time() - started)
    return {name: sum(times) for name, times in least.items()}, texts


def words(text: str) -> list[str]:
    """Words in lower case; characters of scripts without blanks one by one."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def f1(text: str, gold: Counter[str]) -> float:
    """F1 of the bags of words."""
    found = Counter(words(text))
    return 2 * (found & gold).total() / max(1, found.total() + gold.total())


def _runs(extract: Extract) -> bool:
    """Whether the tool is installed; its first page, which loads it, is not measured."""
    try:
        extract(b"<html><body><p>A page that says a little about bread and salt.</p></body></html>")
    except ImportError:
        return False
    return True


def _own(data: bytes) -> str:
    page = extract_page(data, "page.html", HtmlSettings())
    return page.text or "" if isinstance(page, Document) else ""


def _trafilatura(data: bytes) -> str:
    return import_module("trafilatura").extract(data) or ""


def _trafilatura_markdown(data: bytes) -> str:
    return import_module("trafilatura").extract(data, output_format="markdown", with_metadata=True, include_comments=True) or ""


def _resiliparse(data: bytes) -> str:
    text = decoding.decode(data, decoding.html_charset(data)).text
    return str(import_module("resiliparse.extract.html2text").extract_plain_text(text, main_content=True))


def _soup(data: bytes) -> str:
    return str(import_module("bs4").BeautifulSoup(data, "lxml").get_text(" "))
