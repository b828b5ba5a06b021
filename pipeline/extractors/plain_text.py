"""Text and Markdown files: a file is a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline import decoding
from pipeline.documents import Document, Extracted, Removed
from pipeline.extractors.files import SourceError, SourceFile

MAX_TEXT_BYTES = 64_000_000
"""A text file larger than this is not one document; the largest books have a few megabytes."""


@dataclass(frozen=True)
class PlainText:
    """Reads text and Markdown files whole."""

    def read(self, file: SourceFile) -> Iterator[Extracted]:
        """One item: the text of the file without control characters. A file with bytes that cannot be decoded is Skipped, never patched."""
        try:
            data = file.peek(MAX_TEXT_BYTES + 1)
        except SourceError as error:
            yield file.skipped(error.reason)
            return
        if len(data) > MAX_TEXT_BYTES:
            yield file.skipped(f"file too large: more than {MAX_TEXT_BYTES:,} bytes of text; split it into documents", raw=data)
        elif what := decoding.is_binary(data):
            yield file.skipped(f"not text: it {what}", raw=data)
        else:
            yield _document(file, data)


def _document(file: SourceFile, data: bytes) -> Extracted:
    decoded = decoding.decode(data)
    if decoded.lossy:
        offset = _first_undecodable(data, decoded.encoding)
        return file.skipped(f"not {decoded.encoding}: a byte is no text in the likeliest encoding", offset, data[offset:])
    text = decoding.strip_controls(decoded.text)
    document = Document(file.locator(), text=text, meta={"extractor": "text whole file"})
    return document if text.strip() else Removed(document, "no_text", "the file is empty")


def _first_undecodable(data: bytes, encoding: str) -> int:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return 0
