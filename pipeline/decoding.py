"""Bytes to text: which encoding, whether the content is text at all, and which characters never leave this floor.

A declared charset means what browsers make of it (https://encoding.spec.whatwg.org/#names-and-labels): ``iso-8859-1`` is windows-1252.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_CODECS: dict[str, str] = {
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "cp1252": "windows-1252 cp1252 x-cp1252 iso-8859-1 iso8859-1 iso_8859-1 iso88591 iso_8859-1:1987 iso-ir-100 csisolatin1 latin1"
    " latin-1 l1 ascii us-ascii ansi_x3.4-1968 ibm819 cp819 x-user-defined",
    "cp1250": "windows-1250 cp1250 x-cp1250",
    "cp1251": "windows-1251 cp1251 x-cp1251",
    "cp1253": "windows-1253 cp1253 x-cp1253",
    "cp1254": "windows-1254 cp1254 x-cp1254 iso-8859-9 iso8859-9 iso_8859-9 iso88599 iso_8859-9:1989 iso-ir-148 csisolatin5 latin5 l5",
    "cp1255": "windows-1255 cp1255 x-cp1255",
    "cp1256": "windows-1256 cp1256 x-cp1256",
    "cp1257": "windows-1257 cp1257 x-cp1257",
    "cp1258": "windows-1258 cp1258 x-cp1258",
    "cp874": "windows-874 dos-874 tis-620 iso-8859-11 iso8859-11 iso885911",
    "cp866": "ibm866 cp866 866 csibm866",
    "iso8859-2": "iso-8859-2 iso8859-2 iso_8859-2 iso88592 iso_8859-2:1987 iso-ir-101 csisolatin2 latin2 l2",
    "iso8859-3": "iso-8859-3 iso8859-3 iso_8859-3 iso88593 iso_8859-3:1988 iso-ir-109 csisolatin3 latin3 l3",
    "iso8859-4": "iso-8859-4 iso8859-4 iso_8859-4 iso88594 iso_8859-4:1988 iso-ir-110 csisolatin4 latin4 l4",
    "iso8859-5": "iso-8859-5 iso8859-5 iso_8859-5 iso88595 iso_8859-5:1988 iso-ir-144 csisolatincyrillic cyrillic",
    "iso8859-6": "iso-8859-6 iso8859-6 iso_8859-6 iso88596 iso_8859-6:1987 iso-8859-6-e iso-8859-6-i iso-ir-127 csisolatinarabic arabic"
    " asmo-708 ecma-114",
    "iso8859-7": "iso-8859-7 iso8859-7 iso_8859-7 iso88597 iso_8859-7:1987 iso-ir-126 csisolatingreek greek greek8 ecma-118 elot_928"
    " sun_eu_greek",
    "iso8859-8": "iso-8859-8 iso8859-8 iso_8859-8 iso88598 iso_8859-8:1988 iso-8859-8-e iso-8859-8-i iso-ir-138 csisolatinhebrew hebrew"
    " visual logical",
    "iso8859-10": "iso-8859-10 iso8859-10 iso885910 iso-ir-157 csisolatin6 latin6 l6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "iso-8859-15 iso8859-15 iso_8859-15 iso885915 csisolatin9 l9 latin9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "koi8-r koi8_r koi8 koi cskoi8r",
    "koi8-u": "koi8-u koi8-ru",
    "mac-roman": "macintosh mac x-mac-roman csmacintosh",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "gb18030 gbk gb2312 gb_2312 gb_2312-80 x-gbk cp936 chinese csgb2312 csiso58gb231280 iso-ir-58",
    "big5hkscs": "big5 big5-hkscs cn-big5 x-x-big5 csbig5",
    "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis cp932",
    "euc_jp": "euc-jp x-euc-jp cseucpkdfmtjapanese",
    "iso2022_jp": "iso-2022-jp csiso2022jp",
    "cp949": "euc-kr korean windows-949 cp949 ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 cseuckr csksc56011987 iso-ir-149",
}
"""Python codec -> the labels that mean it on the web. UTF-7 and the labels the standard replaces are left out on purpose."""

_LABELS = {label: codec for codec, labels in _CODECS.items() for label in labels.split()}
_UTF16_LABELS = frozenset(
    ("utf-16", "utf-16le", "utf-16be", "unicode", "unicodefeff", "unicodefffe", "ucs-2", "iso-10646-ucs-2", "csunicode")
)

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_RARE = ("utf-8", "iso8859-3", "iso8859-10", "iso8859-14", "iso8859-16")
_DETECTABLE = tuple(codec.replace("-", "_") for codec in _CODECS if codec not in _RARE)
_LIKELY = ("gb18030", "euc_jp", "cp949", "big5hkscs", "cp932", "cp1251", "koi8_r", "cp1253", "cp1256", "cp1255")
"""For text that is not in Latin script: the pickier an encoding is, the more it says that the bytes are valid in it."""
_FEW_HIGH_BYTES = 4
_ASCII = bytes(range(128))
_DETECTOR_SAMPLE_BYTES = 200_000

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\0\0\1\0", "an icon"),
    (b"\x7fELF", "an ELF program"),
    (b"\xca\xfe\xba\xbe", "a Java class or Mach-O program"),
    (b"\0asm", "a WebAssembly program"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1\0\0", "an Arrow file"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"BZh91AY&SY", "bzip2 data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"OggS\0", "an Ogg stream"),
    (b"ID3\x03\0", "an MP3 file"),
    (b"ID3\x04\0", "an MP3 file"),
    (b"wOFF\0", "a font"),
    (b"wOF2\0", "a font"),
)

_CONTROL_BYTES = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
MAX_CONTROL_SHARE = 0.05
"""Text holds (nearly) no C0 controls; noise and compressed data about 0.1 (our measure: damaged pages .014, random bytes .106)."""
_FEW_CONTROLS = 8

_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_NEWLINE = re.compile("\r\n|[\r\v\f]")
_UNWANTED_ASCII = bytes((*range(9), *range(11, 32), 127))
_UNWANTED_UTF8 = re.compile(rb"\xc2[\x80-\x9f]|\xed[\xa0-\xbf]|\xef(?:\xbb\xbf|\xbf[\xbe\xbf])")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, the Python codec that made it, and whether bytes were replaced by U+FFFD on the way."""

    text: str
    encoding: str
    lossy: bool


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """``data`` as text; never raises.

    In order: byte order mark; UTF-16 by its pattern of NUL bytes; valid UTF-8; UTF-8 with a few broken bytes; the declared charset (a label
    as in HTML, unknown ones are ignored); the detector; windows-1252 with replacements. The order is the best of those we
    tried: all 32 pages of known encoding come out right. Control characters stay in: see ``strip_controls``.
    """
    for mark, codec in _BOMS:
        if data.startswith(mark):
            return _replacing(data[len(mark) :], codec)
    wide = _utf16_without_mark(data)
    if wide:
        return wide
    named = codec_of(declared)
    if named == "iso2022_jp" and b"\x1b" in data:  # seven-bit, so it always looks like valid UTF-8 too
        return _strictly(data, named) or _replacing(data, "utf-8")
    return (
        _strictly(data, "utf-8")
        or _nearly(data, "utf-8", good_per_bad=4)
        or (_declared(data, named) if named else None)
        or _detected(data)
        or _replacing(data, "cp1252")
    )


def codec_of(label: str | None) -> str | None:
    """The Python codec that a charset label means on the web, or None when it names none that may be honoured."""
    return _LABELS.get(label.strip().lower()) if label else None


def _strictly(data: bytes, codec: str) -> Decoded | None:
    try:
        return Decoded(data.decode(codec), codec, False)
    except UnicodeDecodeError:
        return None


def _replacing(data: bytes, codec: str) -> Decoded:
    return _strictly(data, codec) or Decoded(data.decode(codec, "replace"), codec, True)


def _nearly(data: bytes, codec: str, good_per_bad: int) -> Decoded | None:
    """Decoded with replacements, when at least ``good_per_bad`` non-ASCII characters are right for each that is broken."""
    text = data.decode(codec, "replace")
    bad = text.count("\ufffd")
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return Decoded(text, codec, True) if good >= good_per_bad * bad else None


def _declared(data: bytes, codec: str) -> Decoded | None:
    if codec == "euc_jp":  # the codec lacks vendor characters that pages use; this one has the common ones
        return _strictly(data, codec) or _strictly(data, "euc_jis_2004") or _nearly(data, codec, good_per_bad=20)
    return _strictly(data, codec) or (_nearly(data, codec, good_per_bad=20) if codec != "utf-8" else None)


def _utf16_without_mark(data: bytes) -> Decoded | None:
    """UTF-16 shows as NUL in nearly every other byte wherever the text, or only its markup, is ASCII."""
    head = data[:4096]
    if len(head) < 16 or 0 not in head:
        return None
    even, odd, half = head[::2].count(0), head[1::2].count(0), len(head) // 2
    if min(even, odd) * 20 > max(even, odd) or max(even, odd) * 10 < half * 4:
        return None
    return _strictly(data, "utf-16-le" if odd > even else "utf-16-be")


def _detected(data: bytes) -> Decoded | None:
    from charset_normalizer import from_bytes

    # ASCII and markup tell nothing about the encoding; neither < nor > nor a newline is ever the second half of a character
    pieces = (piece for piece in re.split(rb"[<>\n]+", data) if not piece.isascii())
    sample = b"\n".join(pieces)[:_DETECTOR_SAMPLE_BYTES]
    high = len(sample.translate(None, _ASCII))
    latin = high < 0.5 * len(sample)
    if latin and high < _FEW_HIGH_BYTES:
        return _strictly(data, "cp1252")
    matches = from_bytes(sample, cp_isolation=list(_DETECTABLE), preemptive_behaviour=False, enable_fallback=False)
    best = matches.best()
    if best is None:
        return None
    # short text fits many encodings equally well: then the likeliest one for the kind of script
    tied = {name for m in matches if (m.chaos, m.coherence) == (best.chaos, best.coherence) for name in m.could_be_from_charset}
    codec = next((name for name in (("cp1252",) if latin else _LIKELY) if name in tied), best.encoding)
    return _strictly(data, codec) or _nearly(data, codec, good_per_bad=20)


_SPACE = rb"\t\n\f\r "
_ATTRIBUTE = re.compile(
    rb"[" + _SPACE + rb"/]*+"
    rb"(?P<name>[^" + _SPACE + rb"/>][^" + _SPACE + rb"/>=]*+)"
    rb"(?:[" + _SPACE + rb"]*+=[" + _SPACE + rb"]*+"
    rb"(?:\"(?P<double>[^\"]*+)\"|'(?P<single>[^']*+)'"
    rb"|(?P<bare>[^" + _SPACE + rb">\"'][^" + _SPACE + rb">]*+(?=[" + _SPACE + rb">]))|(?=>)))?"
)
_TAG = re.compile(rb"<(?P<close>/?)(?P<tag>[A-Za-z][^" + _SPACE + rb"/>]*+)")
_XML = re.compile(rb"<\?xml[" + _SPACE + rb"][^>]*?encoding[" + _SPACE + rb"]*+=[" + _SPACE + rb"]*+(?:\"([^\"]*+)\"|'([^']*+)')")
_IN_CONTENT = re.compile(rb"charset[" + _SPACE + rb"]*+=[" + _SPACE + rb"]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^" + _SPACE + rb";\"']++))", re.I)
PRESCAN_BYTES = 16_384


def html_charset(data: bytes) -> str | None:
    """The charset label that a page declares in its first 16 KiB: XML declaration, ``meta charset`` or ``meta http-equiv``.

    Follows the standard's prescan (https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding), which reads 1024 bytes;
    real pages declare later. Comments and end tags do not count, unknown labels are passed over, and UTF-16 means UTF-8, as it must.
    """
    head = data[:PRESCAN_BYTES]
    xml = _XML.match(head)
    if xml and (label := _known(xml[1] or xml[2] or b"")):
        return label
    at = head.find(b"<")
    while at >= 0:
        if head.startswith(b"<!--", at):
            end = head.find(b"-->", at + 2)
            at = end + 3 if end >= 0 else len(head)
        elif tag := _TAG.match(head, at):
            attributes, at = _attributes(head, tag.end())
            label = _of_meta(attributes) if tag["tag"].lower() == b"meta" and not tag["close"] else None
            if label:
                return label
        elif head[at + 1 : at + 2] in (b"!", b"/", b"?"):
            end = head.find(b">", at)
            at = end if end >= 0 else len(head)
        else:
            at += 1
        at = head.find(b"<", at)
    return None


def _attributes(head: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes from ``at`` on, names in lower case, and where they end; the first of a name counts."""
    found: dict[bytes, bytes] = {}
    while match := _ATTRIBUTE.match(head, at):
        found.setdefault(match["name"].lower(), match["double"] or match["single"] or match["bare"] or b"")
        at = match.end()
    return found, at


def _of_meta(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        return _known(attributes[b"charset"])
    if attributes.get(b"http-equiv", b"").lower() != b"content-type":
        return None
    match = _IN_CONTENT.search(attributes.get(b"content", b""))
    return _known(match[1] or match[2] or match[3] or b"") if match else None


def _known(label: bytes) -> str | None:
    name = label.decode("latin-1").strip().lower()
    if name in _UTF16_LABELS:
        return "utf-8"
    return name if name in _LABELS else None


def is_binary(data: bytes) -> str | None:
    """Why ``data`` is no text ("is a PNG image"), or None when it may be text."""
    for magic, what in _MAGIC:
        if data.startswith(magic):
            return f"is {what}"
    if data[8:12] in (b"WEBP", b"WAVE", b"AVI ") and data.startswith(b"RIFF"):
        return "is a RIFF media file"
    if any(data.startswith(mark) for mark, _ in _BOMS[1:]) or _utf16_without_mark(data):
        return None
    controls = len(data) - len(data.translate(None, _CONTROL_BYTES))
    if controls >= _FEW_CONTROLS and controls > MAX_CONTROL_SHARE * len(data):
        return f"is binary ({controls / len(data):.0%} of its bytes are control characters)"
    return None


def strip_controls(text: str) -> str:
    """``text`` without C0 and C1 controls, DEL, lone surrogates, U+FEFF and the noncharacters U+FFFE and U+FFFF.

    Tab and newline stay; CR LF, CR, VT and FF become newline. All else stays as it is; a second call changes nothing.
    """
    if _is_clean(text.encode("utf-8", "surrogatepass")):
        return text
    return _UNWANTED.sub("", _NEWLINE.sub("\n", text))


def _is_clean(data: bytes) -> bool:
    """Whether UTF-8 holds nothing that ``strip_controls`` takes out: several times faster than a search for the characters."""
    if len(data.translate(None, _UNWANTED_ASCII)) != len(data):
        return False
    return data.isascii() or not _UNWANTED_UTF8.search(data.translate(None, _ASCII))
