"""Secrets, account numbers and personal data: what is found, what is left, and what is written down of it."""

from __future__ import annotations

import base64
import json
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Document, Message, to_batch
from pipeline.errors import SettingsError
from pipeline.filters.iban_forms import LENGTHS, iban_end, remainder
from pipeline.filters.private_data import GROUPS, HoldsPrivateData, PrivateData, Scanner, folded
from pipeline.filters.private_numbers import luhn
from pipeline.settings import build, digest, parse_yaml
from tests.filters.conftest import ROOT, chat, contents, plain

ALL = PrivateData(kinds=("all",))
BASE62 = string.ascii_letters + string.digits


def kinds_in(text: str, kinds: tuple[str, ...] = ("all",)) -> list[str]:
    """The kinds found in a text, in order."""
    return [finding.kind.name for finding in Scanner.of(kinds).findings(text)]


def redacted(text: str, editor: PrivateData = ALL) -> str:
    """A plain document's text after the editor, found through the bulk pass."""
    return contents(editor.edit(plain(text)).batch)[0]


def drawn(seed: int, length: int, alphabet: str = BASE62) -> str:
    """Random characters, the same for a seed on every machine."""
    return "".join(random.Random(seed).choices(alphabet, k=length))


def card_of(prefix: str, length: int, seed: int) -> str:
    """A card number with its check digit."""
    body = prefix + drawn(seed, length - len(prefix) - 1, string.digits)
    return next(body + digit for digit in string.digits if luhn(body + digit))


def iban_of(country: str, seed: int) -> str:
    """An account number in a form of digits, or with letters where the country asks for them."""
    for shape in ("", "A" * 4, "A" * 2, "A", "ABCD" * 2):
        for tail in ("", "AAA", "A1"):
            digits = drawn(seed, LENGTHS[country] - 4 - len(shape) - len(tail), string.digits)
            start = f"{country}00{shape}{digits}{tail}"
            iban = f"{country}{98 - remainder(start):02d}{start[4:]}"
            if iban_end(iban, 0):
                return iban
    raise AssertionError(country)


TOKENS = {
    "github_token": ("ghp_", 36),
    "gitlab_token": ("glpat-", 20),
    "slack_token": ("xoxb-", 40),
    "huggingface_token": ("hf_", 34),
    "openai_key": ("sk-", 48),
    "anthropic_key": ("sk-ant-api03-", 95),
    "google_key": ("AIza", 35),
    "stripe_key": ("sk_live_", 24),
    "npm_token": ("npm_", 36),
    "pypi_token": ("pypi-", 160),
    "service_token": ("dop_v1_", 64),
}


@given(
    st.integers(0, 1 << 32),
    st.sampled_from(sorted(TOKENS)),
    st.sampled_from(["", "key: ", '"', "see (", "密钥"]),
    st.sampled_from(["", ".", '"', "）", "\n"]),
)
def test_every_token_is_found_whole(seed: int, kind: str, before: str, after: str) -> None:
    """A token of a known form is found wherever it stands, by default, and all of it goes."""
    prefix, length = TOKENS[kind]
    token = prefix + drawn(seed, length, "0123456789abcdef" if kind == "service_token" else BASE62)
    result = redacted(f"{before}{token}{after}", PrivateData())
    assert result == f"{before}[API_KEY]{after}" or (before.startswith("key") and token not in result)


@given(st.integers(0, 1 << 32), st.sampled_from(["AKIA", "ASIA"]))
def test_every_aws_key_is_found(seed: int, prefix: str) -> None:
    """A prefix and 16 characters out of 32, one of them a digit."""
    assert kinds_in(f"id {prefix}7{drawn(seed, 15, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}.") == ["aws_key"]


@given(st.integers(0, 1 << 32), st.sampled_from(sorted(LENGTHS)), st.sampled_from(["", " ", "-", "\u00a0", "\u200b"]), st.booleans())
def test_every_account_number_is_found(seed: int, country: str, separator: str, lower: bool) -> None:
    """Valid numbers of each country are found in groups of four or in one piece, whatever stands between."""
    iban = iban_of(country, seed)
    written = separator.join(iban[k : k + 4] for k in range(0, len(iban), 4))
    text = f"pay to {written.lower() if lower else written} today"
    assert redacted(text, PrivateData()) == "pay to [IBAN] today"


@given(
    st.integers(0, 1 << 32), st.sampled_from([("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("3528", 16), ("36", 14)])
)
def test_every_card_is_found(seed: int, issuer: tuple[str, int]) -> None:
    """Valid numbers of each issuer, in one piece and as they are printed."""
    card = card_of(*issuer, seed)
    groups = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[len(card)]
    ends = [sum(groups[: k + 1]) for k in range(len(groups))]
    for separator in ("", " ", "-", "\u2011", "\u202f"):
        written = separator.join(card[end - size : end] for end, size in zip(ends, groups, strict=True))
        assert redacted(f"card {written}, valid", PrivateData()) == "card [CARD], valid"


def test_random_digits_are_found_by_chance_only() -> None:
    """Of random 16-digit numbers no more are taken for cards than issuers' prefixes and one check digit leave (0.1 of 0.24), of IBANs none."""
    source = random.Random(5)
    numbers = [str(source.randrange(10**15, 10**16)) for _ in range(5000)]
    assert sum(bool(kinds_in(f"order {number}.", ("finance",))) for number in numbers) < 0.03 * len(numbers)
    wrong = [f"DE{source.randrange(10**19, 10**20)}" for _ in range(2000)]
    assert sum("iban" in kinds_in(text) for text in wrong) == sum(remainder(text) == 1 for text in wrong)


def jwt(header: dict[str, str]) -> str:
    """A token with this header."""
    parts = (json.dumps(header).encode(), b'{"sub":"x"}', drawn(1, 32).encode())
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def test_a_token_of_json_is_one_when_its_header_says_so() -> None:
    """A JSON web token has a header with ``alg``; other Base64 of JSON is not one."""
    assert kinds_in(f"x {jwt({'alg': 'HS256', 'typ': 'JWT'})} y") == ["jwt"]
    assert kinds_in(f"x {jwt({'type': 'image', 'of': 'x'})} y") == []


BODY = "\n".join(drawn(k, 64) for k in range(12))


@pytest.mark.parametrize(
    "block",
    [
        f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{BODY}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}\n-----END OPENSSH PRIVATE KEY-----",
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{BODY}\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----",
        "-----BEGIN PRIVATE KEY-----" + ("\n" + BODY).replace("\n", "\\n") + "\\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\r\n{BODY.replace(chr(10), chr(13) + chr(10))}",
    ],
)
def test_a_private_key_goes_as_a_block(block: str) -> None:
    """The whole armour goes, with headers, with escaped line ends, and as far as it reaches when its end is missing."""
    assert redacted(f"before\n{block}\n\nafter", PrivateData()) == "before\n[PRIVATE_KEY]\n\nafter"


@pytest.mark.parametrize(
    "text",
    [
        "A PEM file begins with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----.",
        "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----",
        f"-----BEGIN PUBLIC KEY-----\n{BODY}\n-----END PUBLIC KEY-----",
        "postgresql://user:password@localhost/db and redis://:${REDIS_PASSWORD}@host and mysql://root:root@db",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx or hf_" + "x" * 34,
        'password = os.environ["DATABASE_PASSWORD"]; api_key: "your-api-key-goes-here-1234"',
        "token = get_access_token(user_session_2021); secret: the_name_of_the_secret_2",
        "sha256 " + drawn(3, 64, "0123456789abcdef") + " commit " + drawn(4, 40, "0123456789abcdef"),
        "uuid 123e4567-e89b-12d3-a456-426614174000, mac 00:1b:44:11:3a:b7, std::a::b, 12:30:45",
        "version 1.2.3.4, v10.20.30.40, section 3.12.14.15, 127.0.0.1, 192.168.1.20, 10.1.2.3, 255.255.255.0",
        "1.15.22.3 Codec Control IDs",
        "ISBN 978-3-16-148410-0, EAN 4006381333931, 1700000000000 ms, pi 3.1415926535897932",
        "icon@2x.png, @property, pkg@1.2.3, git@github.com:a/b.git, https://u@host.com/x",
        "order 2023-01-15-0042, 10-20-3000, 3.14159265, 1 000 000, x = +12.5 - 3",
        "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000 5123-45-67890",
        "Add::Face, 2001: a space odyssey, 2:30::",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    """Mentions, placeholders, versions, hashes, local addresses and product codes are left, even with all kinds."""
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://admin:hunter2SECRET@db.internal:5432/x", "postgresql://admin:[PASSWORD]@db.internal:5432/x"),
        ("redis://:p@ssT0ken9@cache:6379", "redis://:[PASSWORD]@cache:6379"),
        ('"api_key": "9fK2mQ7xV4tL8wZ3bN6c"', '"api_key": "[SECRET]"'),
        ("export DB_PASSWORD=k9Xw2PqL7vRt4ZmB", "export DB_PASSWORD=[SECRET]"),
        ("Authorization: Bearer 4fA9c1D7e3B8f2A6c0E5d9B1", "Authorization: Bearer [SECRET]"),
        ("write to Jane.Doe+x@mail.example.co.uk.", "write to [EMAIL]."),
        ("jane [at] example [dot] org", "[EMAIL]"),
        ("from 203.0.113.9:443, [2001:db8::1] and 2001:0db8:0:0:8a2e:0370:7334:1", "from [IP]:443, [[IP]] and [IP]"),
        ("ping 198.51.100.7", "ping [IP]"),
        ("call +1 555 0100 or (415) 555-2671 or 415-555-2671", "call [PHONE] or [PHONE] or [PHONE]"),
        ("Tel.: 030 1234567, Fax +49 30 1234568", "Tel.: [PHONE], Fax [PHONE]"),
        ("SSN 078-05-1120; social security number: 219 09 9999", "SSN [SSN]; social security number: [SSN]"),
    ],
)
def test_values_become_placeholders(text: str, expected: str) -> None:
    """Only the value goes; what names it stays."""
    assert redacted(text) == expected


def test_personal_data_stays_by_default() -> None:
    """Addresses and telephone numbers stand in good documents; the default kinds leave them."""
    text = "mail jane@example.com, call +1 555 0100, ssn 078-05-1120, ip 203.0.113.9"
    assert redacted(text, PrivateData()) == text


def test_hidden_values_are_found() -> None:
    """Zero-width characters, full-width digits, digits of other scripts and odd blanks hide nothing; what stood around them stays."""
    assert redacted("卡 ４１１１\u3000１１１１\u3000１１１１\u3000１１１１ 。", PrivateData()) == "卡 [CARD] 。"
    assert redacted("hf\u200b_" + "\u200d".join(drawn(9, 34)) + "\u200b!", PrivateData()) == "[API_KEY]\u200b!"
    assert redacted("ssn ٠٧٨\u2011٠٥\u2011١١٢٠ x") == "ssn [SSN] x"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_the_folded_view_leads_back(text: str) -> None:
    """Every character of the view has an offset in the text, in order; folding a folded view changes nothing."""
    seen, origin = folded(text)
    offsets = list(range(len(text))) if origin is None else origin.tolist()
    assert len(offsets) == len(seen) and offsets == sorted(set(offsets))
    assert folded(seen)[0] == seen


SAMPLES = [
    "ghp_" + drawn(11, 36),
    card_of("4", 16, 12),
    iban_of("GB", 13),
    "jane.doe@example.com",
    "+1 415 555 2671",
    "078-05-1120",
    "203.0.113.9",
    "AKIA7" + drawn(14, 15, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
]


@given(st.lists(st.one_of(st.sampled_from(SAMPLES), st.text("ab \n,😀ü\u200b", max_size=8)), max_size=12).map(" ; ".join))
def test_cuts_say_where_and_hold_nothing(text: str) -> None:
    """Undone from the last to the first, each cut's placeholder stands where it says; no value stands in any field; twice is once."""
    edits = ALL.edit(plain(text))
    edited = contents(edits.batch)[0]
    rows = edits.cuts.to_pylist()
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert not [value for value in SAMPLES if value in f"{edited}{rows}"]
    undone = edited
    for row in reversed(rows):
        assert undone[row["start"] :].startswith(row["after"])
        undone = undone[: row["start"]] + row["before"] + undone[row["start"] + len(row["after"]) :]
    assert contents(ALL.edit(plain(edited)).batch) == [edited]


def test_only_what_cannot_be_guessed_is_hashed() -> None:
    """A token has a short hash by which its owner knows it; a number that could be tried out has its length only."""
    before = {row["rule"]: row["before"] for row in ALL.edit(plain(" ; ".join(SAMPLES))).cuts.to_pylist()}
    assert before["github_token"].startswith("sha256:") and before["github_token"].endswith(" length:40")
    assert before["ssn"] == "length:11" and before["card"] == "length:16" and before["phone"] == "length:15"


def test_many_values_are_written_down_in_few_cuts() -> None:
    """A list of thousands of addresses is edited whole; its cuts are joined and still hold none of them."""
    edits = ALL.edit(plain("\n".join(f"name{k}@example.com" for k in range(3000))))
    assert contents(edits.batch)[0] == "\n".join(["[EMAIL]"] * 3000)
    assert len(edits.cuts) <= 256 and "name" not in str(edits.cuts.to_pylist())


def test_every_role_is_searched_unless_named() -> None:
    """What a user pasted goes by default; with roles named only theirs."""
    batch = to_batch("test", [Document(locator="x", messages=tuple(Message(role, SAMPLES[0]) for role in ("system", "user", "assistant", "tool")))])
    assert len(PrivateData().edit(batch).cuts) == 4
    assert PrivateData(roles=("assistant",)).edit(batch).cuts["message"].to_pylist() == [2]


def test_allowed_values_and_own_placeholders() -> None:
    """A value that a pattern matches as a whole stays; a kind may have another placeholder."""
    editor = PrivateData(kinds=("email",), allow=(r".*@example\.com",), placeholders={"email": "<EMAIL>"})
    assert redacted("a@example.com b@example.com.evil.org", editor) == "a@example.com <EMAIL>"


def test_the_filter_knows_values_and_placeholders() -> None:
    """A document goes for a value or for what the editor put there; the reason names the kind and never the value."""
    batch = chat(SAMPLES[0], "nothing here", SAMPLES[2])
    raw = HoldsPrivateData().judge(batch).to_pylist()
    assert [row["reason"] for row in raw] == ["holds private data: github_token", None, "holds private data: iban"]
    assert (raw[0]["message"], raw[0]["start"], raw[0]["end"], raw[0]["score"]) == (1, 0, 40, 1.0)
    after = HoldsPrivateData().judge(PrivateData().edit(batch).batch).to_pylist()
    assert [row["reason"] for row in after] == ["holds private data: [API_KEY]", None, "holds private data: [IBAN]"]
    assert HoldsPrivateData(kinds=("finance",)).judge(batch).column("rule_id").to_pylist() == [None, None, "iban"]


def test_settings_are_checked() -> None:
    """An unknown kind and a bad pattern are named with what to do; the kinds decide the digest."""
    for text, said in (
        ("kinds: [secretes]", "did you mean 'secrets'"),
        ("allow: ['(']", "not an RE2 pattern"),
        ("placeholders: {mail: x}", "'email'"),
    ):
        with pytest.raises(SettingsError, match=said):
            build(PrivateData, parse_yaml(text, "filter.yaml"))
    assert build(PrivateData, parse_yaml("kinds: all", "filter.yaml")) == ALL and digest(ALL) != digest(PrivateData())
    assert set(GROUPS["all"]) == {kind for group in ("secrets", "finance", "personal") for kind in GROUPS[group]}


@pytest.mark.parametrize(
    "unit", ["1", "4111 ", "@", "a@", "-----BEGIN RSA PRIVATE KEY-----", "eyJhbGciOi.", "://a:", "2001:", "password=", "DE89 ", "call ", "\u200b1"]
)
def test_long_rows_of_one_thing_are_read_to_the_end(unit: str) -> None:
    """What only begins like a value, a hundred thousand times, is no value."""
    assert kinds_in(unit * (200_000 // len(unit))) == []


def test_the_labelled_samples_are_told_apart() -> None:
    """Every labelled secret is found and no look-alike is, where the samples lie beside the checkout."""
    path = ROOT.parent / "shared" / "gold" / "hostile" / "secrets" / "docs.jsonl"
    if not path.exists():
        pytest.skip("no samples beside the checkout")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [bool(kinds_in(row["text"])) for row in rows] == [row["is_secret"] for row in rows]
