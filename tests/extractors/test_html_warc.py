"""WARC files."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from pipeline.documents import Document, Removed, Skipped
from pipeline.extractors.files import SourceFile, kind_of
from pipeline.extractors.html import HtmlSettings
from pipeline.extractors.warc import WarcPages

STORY = "Die Fähre verließ die Insel vor dem Morgengrauen, und niemand am Kai hatte erwartet, dass sie auch die Post mitnähme. "
PAGE = f"<html><head><title>T</title></head><body><article><p>{STORY * 4}</p></article></body></html>"


def archive(tmp_path: Path, *answers: tuple[str, str, str, bytes]) -> SourceFile:
    """A .warc.gz with an info record, and for each answer (address, status, kind, body) a request and a response."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    path = tmp_path / "crawl.warc.gz"
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        writer.write_record(writer.create_warcinfo_record("crawl.warc.gz", {"software": "test"}))
        for url, status, kind, body in answers:
            headers = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
            request = StatusAndHeaders("GET / HTTP/1.1", [("Host", "e.org")], is_http_request=True)
            writer.write_record(writer.create_warc_record(url, "request", http_headers=request))
            writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers))
    return SourceFile(path, path.name)


def test_each_page_of_an_archive_is_a_document(tmp_path: Path) -> None:
    """Pages come with their address, in the server's charset; other files and errors are removed; a bad page costs no other."""
    file = archive(
        tmp_path,
        ("https://e.org/a", "200 OK", "text/html; charset=iso-8859-15", PAGE.encode("iso-8859-15")),
        ("https://e.org/b.png", "200 OK", "image/png", b"\x89PNG"),
        ("https://e.org/c", "404 Not Found", "text/html", PAGE.encode()),
        ("https://e.org/d", "200 OK", "text/html", bytes(range(256)) * 40),
        ("https://e.org/e", "200 OK", "text/html", PAGE.encode()),
    )
    assert kind_of(file) == "warc"
    first, picture, missing, binary, last = WarcPages(HtmlSettings()).read(file)
    assert isinstance(first, Document)
    assert first.text == STORY.strip() + (" " + STORY.strip()) * 3
    assert (first.locator, first.meta["url"], first.meta["title"]) == ("crawl.warc.gz#record=2", "https://e.org/a", "T")
    assert isinstance(picture, Removed)
    assert isinstance(missing, Removed)
    assert (picture.rule, missing.rule) == ("no_page", "http_status")
    assert isinstance(binary, Skipped)
    assert isinstance(last, Document)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_damaged_archive_says_so(tmp_path: Path, keep: float) -> None:
    """What stands before the damage is read, and the last item tells of it."""
    whole = archive(tmp_path, *((f"https://e.org/{n}", "200 OK", "text/html", PAGE.encode()) for n in range(6)))
    data = gzip.decompress(whole.path.read_bytes())
    whole.path.write_bytes(gzip.compress(data)[: int(len(gzip.compress(data)) * keep)])
    items = list(WarcPages(HtmlSettings()).read(whole))
    assert isinstance(items[-1], Skipped)
    assert all(isinstance(item, Document | Skipped) for item in items)


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    """Any other content under the name of an archive goes to quarantine."""
    path = tmp_path / "a.warc"
    path.write_bytes(b"no archive at all\n" * 50)
    (item,) = WarcPages(HtmlSettings()).read(SourceFile(path, "a.warc"))
    assert isinstance(item, Skipped)
