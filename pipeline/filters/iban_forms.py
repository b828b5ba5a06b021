"""International bank account numbers: each country's form, and the check number (ISO 13616)."""

from __future__ import annotations

import re

_TABLE = """
AD 8n12c  AE 19n    AL 8n16c   AT 16n     AZ 4a20c  BA 16n       BE 12n     BG 4a6n8c BH 4a14c    BI 23n     BR 23n1a1c BY 4c4n16c CH 5n12c
CR 18n    CY 8n16c  CZ 20n     DE 18n     DJ 23n    DK 14n       DO 4c20n   EE 16n    EG 25n      ES 20n     FI 14n     FK 2a12n   FO 14n
FR 10n11c2n         GB 4a14n   GE 2a16n   GI 4a15c  GL 14n       GR 7n16c   GT 24c    HN 4a20n    HR 17n     HU 24n     IE 4a14n   IL 19n
IQ 4a15n  IS 22n    IT 1a10n12c           JO 4a4n18c             KW 4a22c   KZ 3n13c  LB 4n20c    LC 4a24c   LI 5n12c   LT 16n     LU 3n13c
LV 4a13c  LY 21n    MC 10n11c2n           MD 20c    ME 18n       MK 3n10c2n MN 16n    MR 23n      MT 4a5n18c MU 4a19n3a NI 4a20n   NL 4a10n
NO 11n    OM 3n16c  PK 4a16c   PL 24n     PS 4a21c  PT 21n       QA 4a21c   RO 4a16c  RS 18n      RU 14n15c  SA 2n18c   SC 4a20n3a SD 14n
SE 20n    SI 15n    SK 20n     SM 1a10n12c          SO 19n       ST 21n     SV 4a20n  TL 19n      TN 20n     TR 6n16c   UA 6n19c   VA 18n
VG 4a16n  XK 16n    YE 4a4n18c
"""
"""What follows the check digits, by country: n digits, a capital letters, c either (facts of the SWIFT IBAN registry)."""

_FORMS = dict(re.findall(r"([A-Z]{2}) (\w+)", _TABLE))
_CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}
_COMPILED = {
    country: re.compile(re.sub(r"([0-9]+)([nac])", lambda part: f"{_CLASSES[part[2]]}{{{part[1]}}}", form)) for country, form in _FORMS.items()
}
LENGTHS = {country: 4 + sum(map(int, re.findall("[0-9]+", form))) for country, form in _FORMS.items()}
"""How many letters and digits a number of each country has."""


def remainder(iban: str) -> int:
    """The number modulo 97 with its first four characters put last and letters as 10 to 35; 1 when the check digits are right."""
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97


def iban_end(text: str, start: int) -> int | None:
    """Where the account number that starts at ``start`` ends, single blanks and hyphens allowed inside; None where there is none."""
    length = LENGTHS.get(text[start : start + 2].upper())
    if length is None:
        return None
    chars: list[str] = []
    at = start
    while len(chars) < length and at < len(text):
        if text[at].isascii() and text[at].isalnum():
            chars.append(text[at].upper())
        elif text[at] not in " -" or text[at - 1] in " -":
            return None
        at += 1
    iban = "".join(chars)
    if len(iban) < length or (text[at : at + 1].isalnum() and text[at : at + 1].isascii()):
        return None
    return at if _COMPILED[iban[:2]].fullmatch(iban[4:]) and remainder(iban) == 1 else None
