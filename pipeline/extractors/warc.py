"""WARC files, as crawlers write them: each HTML response is a page. Read with warcio, record by record; nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.documents import Document, Extracted, Removed, Skipped
from pipeline.extractors.html import HtmlSettings, extract_page

if TYPE_CHECKING:
    from pipeline.extractors.files import SourceFile

_PAGES = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset\s*+=\s*+\"?([\w.:-]+)", re.I)
_RECORDS = ("response", "resource")


@dataclass(frozen=True)
class _Answer:
    """What a server sent: ``number`` of the record, address, content type, status, and the body up to the limit."""

    number: int
    url: str
    kind: str
    status: str
    body: bytes


@dataclass(frozen=True)
class WarcPages:
    """Reads WARC files; requests and notes of the crawler are no units, other files and errors of servers are removed."""

    settings: HtmlSettings = field(default_factory=HtmlSettings)
    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item for each response; where the file is damaged, the last one says so."""
        for answer in _answers(file, self.settings.max_bytes + 1):
            yield answer if isinstance(answer, Skipped) else self._page(answer, file)

    def _page(self, answer: _Answer, file: SourceFile) -> Document | Removed | Skipped:
        where = file.locator(record=answer.number)
        nothing = Document(where, text="", meta={"url": answer.url} if answer.url else {})
        if not answer.kind.startswith(_PAGES):
            return Removed(nothing, "no_page", f"is {answer.kind.split(';')[0].strip() or 'of no kind'}, not a page")
        if not answer.status.startswith("2"):
            return Removed(nothing, "http_status", f"the server answered {answer.status[:3]}")
        charset = _CHARSET.search(answer.kind)
        name = answer.url.partition("://")[2] or file.name
        page = extract_page(answer.body, name, self.settings, where, charset[1] if charset else None)
        if isinstance(page, Document) and answer.url:
            return replace(page, meta={**page.meta, "url": answer.url})
        return page


def _answers(file: SourceFile, max_bytes: int) -> Iterator[_Answer | Skipped]:
    from warcio.archiveiterator import ArchiveIterator

    from pipeline.extractors.files import SourceError

    number = -1
    try:
        with file.open() as stream:
            for number, record in enumerate(ArchiveIterator(stream)):
                if record.rec_type in _RECORDS:
                    yield _answer(record, number, max_bytes)
    except SourceError as error:
        yield file.skipped(error.reason, record=number + 1)
    except (MemoryError, GeneratorExit):
        raise
    except Exception as error:  # warcio raises whatever a damaged header leads to
        yield file.skipped(f"is no WARC file from record {number + 1} on ({type(error).__name__})", record=number + 1)


def _answer(record: Any, number: int, max_bytes: int) -> _Answer:
    headers = record.http_headers
    url = record.rec_headers.get_header("WARC-Target-URI") or ""
    kind = ((headers or record.rec_headers).get_header("Content-Type") or "").lower()
    body = record.content_stream().read(max_bytes) if kind.startswith(_PAGES) else b""
    return _Answer(number, url, kind, headers.get_statuscode() if headers else "200", body)
