r"""Secrets that open something: keys, tokens and passwords, by the forms that their issuers publish."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable
from itertools import pairwise

from pipeline.filters.private_kinds import Check, Kind, Span

MAX_BLOCK_CHARS = 1 << 16
"""A private key block longer than this is not one: an armoured 16,384-bit RSA key has about 13,000 characters."""


def _varied(num_distinct: int, digit: bool = False) -> Check:
    """A check that a token is no row of x: at least so many different characters after its prefix, and perhaps a digit."""

    def check(text: str, start: int, end: int) -> Iterable[Span]:
        value = text[start:end]
        body = re.split(r"[_-]", value)[-1] if len(re.split(r"[_-]", value)[-1]) >= 16 else value
        return [(start, end)] if len(set(body)) >= num_distinct and (not digit or any(map(str.isdigit, body))) else []

    return check


def _aws(text: str, start: int, end: int) -> Iterable[Span]:
    """Only AKIA begins no word; the other prefixes need a digit behind them."""
    value = text[start + 4 : end]
    return [(start, end)] if len(set(value)) >= 6 and (text.startswith("AKIA", start) or not value.isalpha()) else []


def _jwt(text: str, start: int, end: int) -> Iterable[Span]:
    """The first part of a token is Base64url of JSON with a member ``alg`` (RFC 7515, RFC 7516)."""
    head = text[start:end].partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))) if len(head) <= 8192 else None
    except (binascii.Error, ValueError, RecursionError):
        return []
    return [(start, end)] if isinstance(header, dict) and "alg" in header else []


_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|^Private-MAC:.*", re.M)
_LONG_RUN = re.compile(r"[A-Za-z0-9+/=]{12,}")
_ARMOUR = re.compile(r"(?:^|\\n)[A-Za-z][A-Za-z-]{2,30}: [^\n\\]*|\\[nr]|[\s\"',\\]+", re.M)
_UNENDED = re.compile(r"(?:(?:[\s\"',]|\\[nr])*+(?:[A-Z][A-Za-z-]{2,30}: [^\n\\]*+|[A-Za-z0-9+/=]{24,}+))++")


def _private_key(text: str, start: int, end: int) -> Iterable[Span]:
    """The block up to its end, or as far as it goes on in a text that was cut off; a mention of the mark alone is none."""
    stop = min(end + MAX_BLOCK_CHARS, len(text))
    following = text.find("-----BEGIN", end, stop)
    last = _END.search(text, end, following if following >= 0 else stop)
    body = last or _UNENDED.match(text, end, stop)
    if body is None:
        return []
    inside = _ARMOUR.sub("", text[end : last.start() if last else body.end()])
    return [(start, body.end())] if 2 * sum(map(len, _LONG_RUN.findall(inside))) >= max(len(inside), 1) else []


_DUMMY = re.compile(
    r"""(?ix) [<\[{(*$%].* | .*[>\]})*$]                                        # a placeholder or a variable
    | (?-i:[a-z]{1,5})                                                        # a word as short as tiger in scott:tiger
    | (?:your|my|the|some|new|old|test|example|sample|dummy|fake|insert|enter|replace|change|default|redacted|anon).*
    | (?:pass(?:word|wd|phrase)?|pwd|secret|token|key|api|user(?:name)?|login|admin|root|guest|foo|bar|baz|abc|qwerty|me|it|here|p[a@]ssw[o0]rd
    | db|mysql|postgres(?:ql)?|mongo|redis|rabbitmq|none|null|true|false|[x.\-_\#!?0-9])+"""
)
"""What stands where a text only shows the form of a password."""


def _url_password(text: str, start: int, end: int) -> Iterable[Span]:
    """What is no example: neither the user's name again nor a word for a password."""
    value = text[start:end]
    user = re.split(r"[/:]", text[max(0, start - 100) : start - 1])[-1]
    return [] if value == user or _DUMMY.fullmatch(value[:200]) else [(start, end)]


_CODE = re.compile(r"[()\[\]{}$%<>|]|::|->")
_CLASSES = (str.islower, str.isupper, str.isdigit)


def _switches(value: str) -> float:
    """Changes between small letters, capitals and digits for each character, separators left out."""
    classes = [next((k for k, is_of in enumerate(_CLASSES) if is_of(char)), None) for char in value]
    return sum(a is not None and b is not None and a != b for a, b in pairwise(classes)) / len(value)


def entropy(value: str) -> float:
    """Shannon entropy of the characters, bits for each."""
    shares = [value.count(char) / len(value) for char in sorted(set(value))]
    return -sum(share * math.log2(share) for share in shares)


def _assigned(text: str, start: int, end: int) -> Iterable[Span]:
    """A value that no person would choose as a name or a word: letters and digits that change places often.

    Of 20 random characters out of 62, 12 differ in class from the one before; in ``user_session_2021`` none does.
    """
    value = text[start:end].rstrip(".,;:)]}'\"`")
    if len(value) < 16 or len(value) > 4096 or _CODE.search(value) or _DUMMY.fullmatch(value[:200]):
        return []
    digits, letters = sum(map(str.isdigit, value)), sum(map(str.isalpha, value))
    return [(start, start + len(value))] if min(digits, letters) >= 2 and _switches(value) >= 0.25 and entropy(value) >= 3.3 else []


def _token(name: str, pattern: str, num_distinct: int = 8, digit: bool = False, anchor: str = "") -> Kind:
    return Kind(name, "secrets", "[API_KEY]", pattern, _varied(num_distinct, digit), anchor)


_NAMES = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|api[_-]?key|access[_-]?key|account[_-]?key|auth[_-]?key|private[_-]?key|encryption[_-]?key"
    r"|signing[_-]?key|token|credential)(?:[_-]?(?:key|value|base64))?s?"
)

SECRETS: tuple[Kind, ...] = (
    Kind(
        "private_key",
        "secrets",
        "[PRIVATE_KEY]",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[0-9]:",
        _private_key,
    ),
    Kind("aws_key", "secrets", "[API_KEY]", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", _aws),
    _token("github_token", r"\b(?:gh[opsru]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b"),
    _token("gitlab_token", r"\bgl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[A-Za-z0-9_-]{20,}(?:\.[A-Za-z0-9_-]{2,})*"),
    _token(
        "slack_token",
        r"\bxox[abeoprs](?:\.xox[bp])?-[0-9A-Za-z-]{10,}|\bxapp-[0-9]-[0-9A-Za-z-]{20,}"
        r"|\bhooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]{16,})",
        digit=True,
    ),
    _token("huggingface_token", r"\b(?:hf_|api_org_)[A-Za-z0-9]{34,}\b", 10),
    _token("anthropic_key", r"\bsk-ant-[A-Za-z0-9]+-[A-Za-z0-9_-]{20,}"),
    _token("openai_key", r"\bsk-(?:proj|svcacct|admin|None|or-v1)-[A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9]{32,}\b", 10, True),
    _token("google_key", r"\bAIza[0-9A-Za-z_-]{35}|\bGOCSPX-[0-9A-Za-z_-]{28}|\bya29\.[0-9A-Za-z_-]{20,}"),
    _token("stripe_key", r"\b(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,}\b|\bwhsec_[0-9A-Za-z+/=]{24,}"),
    _token("npm_token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _token("pypi_token", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    _token(
        "service_token",
        r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|\bdop_v1_[0-9a-f]{64}\b|\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b|\bdapi[0-9a-f]{32}\b"
        r"|\b(?:gsk|xai|fw|r8|nvapi|pplx|lin_api|dckr_pat)[_-][A-Za-z0-9_-]{37,}|\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"
        r"|\bhv[sb]\.[A-Za-z0-9_-]{24,}|\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b",
    ),
    Kind("jwt", "secrets", "[TOKEN]", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}", _jwt),
    Kind("url_password", "secrets", "[PASSWORD]", r"://[^\s/:@\"'<>\\]*:([^\s/\"'<>\\]{3,})@[A-Za-z0-9\[{$]", _url_password, random=False),
    Kind(
        "assigned_secret",
        "secrets",
        "[SECRET]",
        rf"(?i){_NAMES}(?:\\?[\"'`]\]?)?\s{{0,3}}(?::=|=>|==?|:)\s{{0,3}}[\"'`\\]{{0,3}}([^\s&\"'`,;\\]{{16,}})"
        r"|\bbearer\s+([A-Za-z0-9._~+/=-]{20,})",
        _assigned,
        random=False,
    ),
)
"""The more certain kinds first."""
