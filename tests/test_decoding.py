"""Bytes to text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding import codec_of, decode, html_charset, is_binary, strip_controls

GOLD = Path(__file__).resolve().parents[2] / "shared" / "gold" / "html" / "hard"

GERMAN = "Die Brücke über den Fluß wird größer, sagte die Bürgermeisterin; für Fußgänger öffnet sie im März. "
RUSSIAN = "Вчера городской совет долго обсуждал проект бюджета на будущий год и отложил решение. "
JAPANESE = "昨日、市議会は来年度の予算案について長時間にわたり議論した。"
CHINESE = "昨天市议会就明年的预算草案进行了长时间的讨论，最后推迟了决定。"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_byte_order_mark_comes_first(encoding: str) -> None:
    """A byte order mark beats the declared charset and does not stay in the text."""
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    decoded = decode(mark + JAPANESE.encode(encoding), "windows-1251")
    assert (decoded.text, decoded.lossy) == (JAPANESE, False)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(encoding: str) -> None:
    """Markup in UTF-16 is known by its pattern of NUL bytes and is not taken for binary data."""
    data = f"<html><body>{GERMAN}</body></html>".encode(encoding)
    assert decode(data).encoding == encoding
    assert is_binary(data) is None


def test_valid_utf_8_beats_the_declaration() -> None:
    """Pages that declare Latin-1 and are UTF-8 are common; the bytes know better."""
    assert decode(GERMAN.encode(), "iso-8859-1").text == GERMAN


def test_a_few_broken_bytes_leave_utf_8_utf_8() -> None:
    """Some invalid bytes become U+FFFD, and all other characters stay right."""
    decoded = decode((GERMAN * 2).encode() + b"\xff" + GERMAN.encode())
    assert decoded.text == GERMAN * 2 + "\ufffd" + GERMAN
    assert (decoded.encoding, decoded.lossy) == ("utf-8", True)


@pytest.mark.parametrize(
    ("text", "codec", "label"),
    [
        ("“größer” – 5 €", "cp1252", "iso-8859-1"),
        (CHINESE, "gb18030", "gb2312"),
        ("①㈱" + JAPANESE, "cp932", "Shift_JIS"),
        ("①" + JAPANESE, "euc_jis_2004", "EUC-JP"),
        (JAPANESE, "iso2022_jp", "iso-2022-jp"),
        ("똠방각하", "cp949", "euc-kr"),
        ("İstanbul’da", "cp1254", " ISO-8859-9 "),
        ("zażółć gęślą jaźń", "iso8859-2", "latin2"),
    ],
)
def test_a_declared_charset_means_what_browsers_make_of_it(text: str, codec: str, label: str) -> None:
    """A label of an old standard stands for the larger encoding that pages really use."""
    decoded = decode(text.encode(codec), label)
    assert (decoded.text, decoded.lossy) == (text, False)


def test_a_declared_charset_may_be_broken_here_and_there() -> None:
    """One byte that is no character does not throw the declared charset away."""
    decoded = decode(RUSSIAN.encode("cp1251") + b"\x98" + RUSSIAN.encode("cp1251"), "windows-1251")
    assert decoded.text == RUSSIAN + "\ufffd" + RUSSIAN
    assert decoded.lossy


@pytest.mark.parametrize("label", [None, "utf-8", "no-such-charset", "utf-7", "rot13", "idna", "../x", "\0"])
@pytest.mark.parametrize(
    ("text", "codec"),
    [(GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (CHINESE, "gb18030")],
)
def test_without_a_declaration_that_holds_the_detector_decides(text: str, codec: str, label: str | None) -> None:
    """No declaration, a wrong one and an unknown one are all the same: the bytes are looked at."""
    assert decode((text * 3).encode(codec), label).text == text * 3


@pytest.mark.parametrize("text", ["café crème", "Größe", "el niño pequeño", "100°C", "price: £5", "It’s “quoted” — text"])
def test_short_western_text_is_windows_1252(text: str) -> None:
    """A few accented letters fit a dozen encodings; the commonest is taken."""
    assert decode(text.encode("cp1252")).text == text


def test_the_last_resort_replaces() -> None:
    """Bytes that fit nothing still give text, and it is said that something was lost."""
    decoded = decode(b"words and \x81 words")
    assert decoded.text == "words and \ufffd words"
    assert decoded.lossy


def test_utf_7_is_never_honoured() -> None:
    """UTF-7 can smuggle markup past those who look for it."""
    assert decode(b"+ADw-script+AD4-", "utf-7").text == "+ADw-script+AD4-"
    assert codec_of("utf-7") is None


@pytest.mark.parametrize(
    ("head", "label"),
    [
        (b'<meta charset="koi8-r">', "koi8-r"),
        (b"<META  CHARSET = Shift_JIS >", "shift_jis"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "windows-1251"),
        (b"<meta content='text/html; charset=\"big5\"' http-equiv=content-type>", "big5"),
        (b'<?xml version="1.0" encoding="iso-8859-2"?><html>', "iso-8859-2"),
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=nonsense><meta charset=gbk>", "gbk"),
        (b"<!-- <meta charset=koi8-r> --><meta charset=gbk>", "gbk"),
        (b"<a title='<meta charset=koi8-r>'><meta charset=gbk>", "gbk"),
        (b'<meta content="charset=gbk">', None),
        (b"</meta charset=gbk>", None),
        (b"<metadata charset=gbk>", None),
        (b"<!doctype html><p>charset=gbk", None),
        (b"<meta charset=gbk", None),
        (b"<!-- <meta charset=gbk>", None),
        (b"x" * 3000 + b"<meta charset=gbk>", "gbk"),
        (b"x" * 20_000 + b"<meta charset=gbk>", None),
        (b"", None),
    ],
)
def test_the_charset_a_page_declares(head: bytes, label: str | None) -> None:
    """Only what a browser would take for a declaration is one."""
    assert html_charset(head) == label


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"%PDF-1.7\n", "PDF"),
        (b"PK\x03\x04", "zip"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"SQLite format 3\0", "SQLite"),
        (b"PAR1\x15", "Parquet"),
        (b"\x7fELF\x02", "ELF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "RIFF"),
        (bytes(range(256)) * 20, "control"),
        (b"text\0\0\0\0\0\0\0\0" * 10, "control"),
    ],
)
def test_binary_content_is_named(data: bytes, what: str) -> None:
    """Content that is no text is told by its magic number or by its control characters."""
    assert what in (is_binary(data) or "")


@pytest.mark.parametrize(
    "data", [b"", b"plain", b"a\0b and one NUL more\0", JAPANESE.encode("cp932"), RUSSIAN.encode("utf-16"), b"\x1b$B", b"PKZIP", b"BZh"]
)
def test_text_is_not_binary(data: bytes) -> None:
    """Text in any encoding is let through, also with a stray control character."""
    assert is_binary(data) is None


def test_controls_go_and_the_rest_stays() -> None:
    """Line ends become newlines; tab, joiners, private use, combining marks and unusual blanks stay."""
    assert strip_controls("a\r\nb\rc\x0cd\te\x00\x07\x1b\x7f\x85\x9f\ud800\ufeff\ufffe\uffff") == "a\nb\nc\nd\te"
    kept = "\u200b\u200d\u2028\u00a0\u00ad\u0301\ue000\ufffd\U000e0041\U0001f600"
    assert strip_controls(kept) == kept


@given(st.text(st.characters(codec=None)))
def test_stripping_twice_is_stripping_once(text: str) -> None:
    """strip_controls is idempotent, and what it gives can be written as UTF-8."""
    once = strip_controls(text)
    assert strip_controls(once) == once
    assert once.encode("utf-8").count(b"\r") == 0


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")), st.none() | st.text() | st.sampled_from(["gbk", "utf-8"]))
def test_any_bytes_decode(data: bytes, declared: str | None) -> None:
    """decode, html_charset and is_binary never raise; what says it lost nothing gives the bytes back."""
    decoded = decode(data, declared)
    assert html_charset(data) is None or codec_of(html_charset(data))
    assert is_binary(data) is None or is_binary(data)
    assert decode(data, declared) == decoded
    if not decoded.lossy and decoded.encoding == "utf-8":
        assert decoded.text.encode() in (data, data.removeprefix(b"\xef\xbb\xbf"))


@pytest.mark.skipif(not GOLD.is_dir(), reason="the gold pages are not beside the checkout")
def test_the_gold_charset_pages() -> None:
    """Every gold page of known encoding decodes to its known words."""
    rows = [json.loads(line) for line in (GOLD / "expectations.jsonl").read_text(encoding="utf-8").splitlines()]
    pages = {row["file"]: (GOLD / row["file"]).read_bytes() for row in rows if row["encoding"]}
    decoded = {name: decode(data, html_charset(data)).text for name, data in pages.items()}
    missing = [row["file"] for row in rows if row["encoding"] and not all(words in decoded[row["file"]] for words in row["must_contain"])]
    assert len(pages) > 30
    assert missing == []
