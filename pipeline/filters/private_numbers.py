r"""Account numbers, and what leads to a person: addresses and numbers, most of them with a check of their own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from pipeline.filters.iban_forms import iban_end
from pipeline.filters.private_kinds import Kind, Span

CONTEXT_CHARS = 40
"""How far before a candidate the words are looked for that say what a number is."""

MAX_HEADING = 40
"""Four numbers of at most this at the start of a line, before a word, are taken for the number of a section."""


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


_ISSUERS = re.compile(
    r"""(?x) 4(?:\d{15}|\d{18})                                                   # Visa
    | (?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}             # Mastercard
    | 3[47]\d{13}                                                                 # American Express
    | (?:6011|64[4-9]\d|65\d\d)(?:\d{12}|\d{15})                                   # Discover
    | 62\d{14,17}                                                                 # UnionPay
    | 35(?:2[89]|[3-8]\d)\d{12}                                                   # JCB
    | (?:30[0-5]|36\d|3[89]\d)\d{11}                                              # Diners Club
    | (?:5018|5020|5038|5893|6304|6759|676[1-3])(?:\d{12}|\d{14}|\d{15})           # Maestro"""
)
"""Prefix and length by issuer (ISO/IEC 7812 issuer identification numbers as the networks publish them). Visa numbers of 13 digits, which no
bank has issued for decades, and short Maestro numbers are left out: product codes (EAN-13) look the same."""
_GROUPINGS = ((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3))


def _card(text: str, start: int, end: int) -> Iterable[Span]:
    """Numbers in a run of digits: in one piece, or in the groups that are printed on a card; not part of a name, a path or a decimal."""
    groups = [match.span() for match in re.finditer(r"[0-9]+", text[start:end])]
    sizes = [b - a for a, b in groups]
    k = 0
    while k < len(groups):
        width = _width(sizes, k)
        a, b = start + groups[k][0], start + groups[k + width - 1][1]
        digits = re.sub("[ -]", "", text[a:b]) if b - a <= 24 else ""
        if _ISSUERS.fullmatch(digits) and luhn(digits) and len(set(digits)) > 1 and _stands_alone(text, a, b):
            yield a, b
        k += width


def _width(sizes: list[int], k: int) -> int:
    """How many groups from the ``k``-th on make one number."""
    for grouping in _GROUPINGS:
        n = len(grouping)
        if tuple(sizes[k : k + n]) == grouping and (k == 0 or sizes[k - 1] != 4) and (k + n == len(sizes) or sizes[k + n] != 4):
            return n
    return 1


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if re.search(r"[\w/#&@]$|[0-9][.,]$|[A-Za-z]-$|[.]$", before):
        return False
    return not re.match(r"\w|[.,][0-9]|-\w|/\w|[*^%]", after)


def _iban(text: str, start: int, end: int) -> Iterable[Span]:
    """As many letters and digits as the country's form has, blanks or hyphens between them, and the remainder is right."""
    found = iban_end(text, start)
    return [(start, found)] if found else []


_SSN = r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b|(?i:\bssn|social security)[^0-9\n]{0,30}\b([0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4})\b"
"""Hyphenated, or in another form behind a word that names it."""


def _ssn(text: str, start: int, end: int) -> Iterable[Span]:
    """A number that could have been given out: no group of zeros, no area 666 or 9xx (SSA, structure of the number before 2011 and since)."""
    digits = re.sub("[ -]", "", text[start:end])
    plausible = digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"
    alone = not re.search(r"[\w./-]$", text[max(0, start - 1) : start]) and not re.match(r"[\w/-]|\.[0-9]", text[end : end + 2])
    return [(start, end)] if plausible and alone else []


_FILES = frozenset(re.findall(r"\w+", "png jpg jpeg gif svg webp bmp ico css js ts tsx jsx json xml html htm php txt pdf mp3 mp4 yaml yml toml lock"))
"""Endings of file names that no top-level domain has: ``icon@2x.png``."""


def _email(text: str, start: int, end: int) -> Iterable[Span]:
    """An address, not the user part of a URL, a remote of git, the name of a file or the id of a message."""
    value = text[start:end]
    top = re.split(r"\.|\bdot\b", value.rstrip(")]} "))[-1].strip(" ([{").lower()
    local = re.split("[@ \\[({]", value)[0]
    before = text[max(0, start - 100) : start]
    in_url = re.search(r"://[^\s/]*$", before) is not None
    remote = local == "git" and text[end : end + 1] in (":", "/")
    message_id = sum(map(str.isdigit, local)) >= 12
    if in_url or remote or message_id or before.endswith("@") or top in _FILES or len(local) > 64 or ".." in local or end - start > 320:
        return []
    return [(start, end)]


_VERSION = re.compile(
    r"(?i)(?:\bv|\bver|versions?|releases?|\brel|\bbuild|firmware|driver|patch|updates?|section|\bsec|chapter|clause|article|table|figure|§|oid)"
    r"[\s.:=(#\"'-]{0,4}(?:[0-9][\w.-]*(?:,| and| or| to| through)? ){0,3}$"
)


def _ip(text: str, start: int, end: int) -> Iterable[Span]:
    """A public address (also of the ranges for documentation), not a version, the number of a section, a network mask or a private address."""
    value = text[start:end].rstrip(":")
    end = start + len(value)
    before, after = text[max(0, start - CONTEXT_CHARS) : start], text[end : end + 2]
    if re.search(r"[\w.:-]$|(?<!/)/$", before.removesuffix("ip:")) and not re.search(r"[A-Za-z]{2}:$|\b[a-z]+[0-9]?=$", before):
        return []
    if re.match(r"\w|[.:-]\w" if ":" in value else r"\w|[.-]\w", after) or _VERSION.search(before):
        return []
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return []
    heading = re.search(r"(?:^|\n)[ \t#*]*$", before) and re.match(r"\.?[ \t]+[^\W\d_]", text[end : end + 8])
    numbering = max(address.packed) <= (MAX_HEADING if heading else 9)
    return [(start, end)] if _is_public(address, value) and not numbering else []


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address, value: str) -> bool:
    """IPv4: outside the ranges for private and special use. IPv6: global unicast (RFC 4291), or link-local."""
    if isinstance(address, ipaddress.IPv6Address):
        return bool(re.match(r"[23][0-9A-Fa-f]{3}:", value)) or (address.is_link_local and value.count(":") >= 5)
    first, second = address.packed[:2]
    special = first in (0, 10, 127) or first >= 224 or (first, second) in ((192, 168), (169, 254))
    special = special or (first == 172 and 16 <= second < 32) or (first == 100 and 64 <= second < 128)
    return not special


_CALLED = (
    r"(?i:\b(?:tel|tél|telefon(?:nummer|o)?|telephone|téléphone|phone|ph|call|fax|mobile|mob|mobil|handy|cell|whatsapp|hotline|sms|rufnummer|dial)\b"
    r"|[☎📞📱])[\s.:#()-]*(?:(?i:is|no|nr|number|at|us|me|on|him|her|them|or|your|my)[\s.:]+){0,3}"
)
"""What stands before a number that is a telephone number in whatever form."""
_CALL = re.compile(_CALLED + "$")
_AMERICAN = r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[ .-][0-9]{4}"


def _phone(text: str, start: int, end: int) -> Iterable[Span]:
    """International with a plus sign (ITU-T E.164), North American in its groups, others behind a word such as ``tel`` or ``call``."""
    value = text[start:end].rstrip(" -.(")
    end = start + len(value)
    digits = re.sub(r"\D", "", value)
    before, after = text[max(0, start - CONTEXT_CHARS) : start], text[end : end + 2]
    if re.match(r"[\w%°€$£]|[.,/-]\w| ?[*/=+x×]", after) or (re.search(r"[\w.,/=#$€£-]$|[0-9)] ?$", before) and not _CALL.search(before)):
        return []
    if not 7 <= len(digits) <= 15 or len(set(digits)) < 3:
        return []
    if value[0] == "+":
        decimal = re.fullmatch(r"\+[0-9]+\.[0-9]+", value)
        return [(start, end)] if digits[0] != "0" and not decimal and (len(value) > len(digits) + 1 or len(digits) >= 9) else []
    return [(start, end)] if re.fullmatch(_AMERICAN, value) or _CALL.search(before) else []


NUMBERS: tuple[Kind, ...] = (
    Kind(
        "iban",
        "finance",
        "[IBAN]",
        r"\b[A-Za-z]{2}[0-9]{2}[ -]?[0-9A-Za-z]",
        _iban,
        r"\b[A-Za-z]{2}[0-9]{2}(?:[ -]?[0-9A-Za-z]{2}){5}",
        random=False,
    ),
    Kind("card", "finance", "[CARD]", r"[0-9](?:[ -]?[0-9]){12,}", _card, r"[2-6][0-9]{3}[ -]?[0-9]{4,6}[ -]?[0-9]{4}", random=False),
    Kind("ssn", "personal", "[SSN]", _SSN, _ssn, random=False),
    Kind(
        "email",
        "personal",
        "[EMAIL]",
        r"(?i)[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}"
        r"|\b[a-z0-9._%+-]+ ?[\[({] ?at ?[\])}] ?[a-z0-9-]+(?:(?:\.| ?[\[({] ?dot ?[\])}] ?)[a-z0-9-]+)*(?:\.| ?[\[({] ?dot ?[\])}] ?)[a-z]{2,}",
        _email,
        r"(?i)[a-z0-9._%+-]@[a-z0-9-]+\.[a-z0-9]|[\[({] ?at ?[\])}]",
        random=False,
    ),
    Kind(
        "ip",
        "personal",
        "[IP]",
        r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b|\b[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}|\b[0-9A-Fa-f]{4}::?(?:[0-9A-Fa-f]{1,4}::?){0,6}"
        r"(?:[0-9A-Fa-f]{1,4})?",
        _ip,
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|\b[23fF][0-9A-Fa-f]{3}:[0-9A-Fa-f:]",
        random=False,
    ),
    Kind(
        "phone",
        "personal",
        "[PHONE]",
        rf"\+[0-9](?:[ ().-]{{0,2}}[0-9]){{6,14}}|{_AMERICAN}|{_CALLED}([0-9(](?:[ ()./-]{{0,2}}[0-9]){{6,14}})",
        _phone,
        random=False,
    ),
)
