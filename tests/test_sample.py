"""The committed sample holds exactly what its README says, and the pages made by `pipeline.sample` are the same everywhere."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sample import COPIES, MADE, MODULES, Writer, blocks, main, pages

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "data" / "sources"

Record = list[str]


def planted() -> dict[str, dict[str, tuple[int, str]]]:
    """The tables of the README: file -> what is planted -> (count, where)."""
    tables: dict[str, dict[str, tuple[int, str]]] = {}
    for section in (SOURCES / "README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        name = re.findall(r"`(.+?)`", section.split("\n")[0])[0]
        rows = re.findall(r"^\| (.+?) \| (\d+) \| (.*?) ?\|$", section, flags=re.MULTILINE)
        tables[name] = {what: (int(count), where) for what, count, where in rows}
    return tables


def records() -> list[Record]:
    """Every record of the CSV file after its header, the bad ones included."""
    with (SOURCES / "instructions.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["instruction", "input", "output", "topic"]
    return rows


def words(record: Record) -> list[str]:
    """The words of a record without case, white space and punctuation."""
    return re.findall(r"\w+", " ".join(record[:3]).casefold())


def similarity(a: list[str], b: list[str]) -> float:
    """Jaccard similarity of the runs of five words."""
    first, second = ({tuple(text[i : i + 5]) for i in range(max(1, len(text) - 4))} for text in (a, b))
    return len(first & second) / len(first | second)


REFUSAL = re.compile(r"(As an? (AI )?language model|I['’]m sorry|I apologize|Sorry,|I cannot|Unfortunately)")
SLOP = re.compile(
    r"(As an AI|As of my last|Please note that my training).*|.*(I hope this helps!|further questions\.|anything else!|feel free to ask!)",
    re.DOTALL,
)


def is_refusal(record: Record) -> bool:
    """Whether the answer begins as refusals do and says nothing else."""
    return REFUSAL.match(record[2]) is not None and len(record[2]) < 160


PREDICATES: dict[str, Callable[[Record], bool]] = {
    "refusals": is_refusal,
    "good answers that begin or end with slop": lambda r: SLOP.fullmatch(r[2]) is not None and not is_refusal(r),
    "mojibake: UTF-8 read as Windows-1252": lambda r: re.search("Ã|â€|Â", r[2]) is not None,
    "answers that are empty or too short": lambda r: len(r[2]) < 20,
    "the texts NA, null and None as values, not as missing ones": lambda r: r[1] in ("NA", "null", "None"),
    "must stay: a polite refusal in a letter, the phrase quoted as a topic": lambda r: (
        re.search(r"I'm sorry, but I can't|As an AI language model", r[2]) is not None and SLOP.fullmatch(r[2]) is None and not is_refusal(r)
    ),
}


@pytest.mark.parametrize("what", PREDICATES)
def test_the_planted_records_are_where_the_readme_says(what: str) -> None:
    """Exactly the records that the README names have the planted property, and their number is its count."""
    count, where = planted()["instructions.csv"][what]
    found = [i for i, record in enumerate(records()) if len(record) == 4 and PREDICATES[what](record)]
    assert found == [int(number) for number in where.split(", ")]
    assert len(found) == count


def test_the_csv_parses_with_exactly_the_planted_bad_records() -> None:
    """A strict reader finds the README's number of records, and only the named ones have not four fields."""
    rows, table = records(), planted()["instructions.csv"]
    bad = [i for i, row in enumerate(rows) if len(row) != 4]
    assert len(rows) == table["records in all"][0]
    assert (len(bad), ", ".join(map(str, bad))) == table["wrong number of fields"]


def test_no_two_records_are_alike_but_the_planted_ones() -> None:
    """Exact and near duplicates are the README's and no others: everything else is far apart."""
    rows, table = records(), planted()["instructions.csv"]
    texts = [words(row) if len(row) == 4 else [] for row in rows]
    exact, near = set(), set()
    for later in range(len(rows)):
        for earlier in range(later):
            if texts[later] and texts[earlier]:
                score = 1.0 if texts[later] == texts[earlier] else similarity(texts[later], texts[earlier])
                assert score == 1.0 or score > 0.8 or score < 0.3, (earlier, later, score)
                (exact if score == 1.0 else near if score > 0.8 else set()).add(later)
    count, where = next(row for what, row in table.items() if what.startswith("exact"))
    named = [int(number) for number in where.split(", ")]
    assert (exact, len(exact)) == (set(named), count)
    assert [rows[i] in rows[:i] for i in named] == [True] * 3 + [False] * 3
    count, where = next(row for what, row in table.items() if what.startswith("near"))
    assert (sorted(near), len(near)) == ([int(number) for number in where.split(", ")], count)


def test_the_mojibake_can_be_repaired() -> None:
    """Nothing was lost in the planted mojibake: it turns back into UTF-8, with none left."""
    for number in planted()["instructions.csv"]["mojibake: UTF-8 read as Windows-1252"][1].split(", "):
        text = records()[int(number)][2]
        assert re.search("[Ââ]", text.encode("cp1252").decode("utf-8")) is None


def sql_rows(table: str) -> Iterator[list[str | None]]:
    """The rows of the dump's INSERT statements for a table: strings without their escapes, NULL as None."""
    dump = (SOURCES / "forum.sql").read_text(encoding="utf-8")
    token = re.compile(r"'((?:[^'\\]|\\.|'')*)'|(NULL|-?\d+)|([(),;])", re.DOTALL)
    for statement in re.finditer(rf"^INSERT INTO `{table}`[^\n]* VALUES\n", dump, flags=re.MULTILINE):
        row: list[str | None] = []
        for match in token.finditer(dump, statement.end()):
            text, bare, mark = match.groups()
            if mark == ";":
                break
            if mark == ")":
                yield row
                row = []
            elif mark is None:
                unescaped = None if text is None else re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text.replace("''", "'"))
                row.append(unescaped if text is not None else None if bare == "NULL" else bare)


def test_the_dump_holds_the_rows_the_readme_says() -> None:
    """Every table has its number of rows, all of one width but for the one broken row."""
    table = planted()["forum.sql"]
    widths = {"users": 5, "threads": 6, "tags": 2, "posts": 7}
    for name, width in widths.items():
        whole = [row for row in sql_rows(name) if len(row) == width]
        assert len(whole) == table[f"rows of `{name}`" if name != "posts" else "rows of `posts` that can be read"][0]
    broken = [row for row in sql_rows("posts") if len(row) != 7]
    count, where = table["a row that breaks off after four of seven values; its neighbours are whole"]
    assert [f"posts {row[0]}" for row in broken] == [where]
    assert (len(broken), len(broken[0])) == (count, 4)


def test_the_planted_posts_are_where_the_readme_says() -> None:
    """The duplicate, the refusal, the slop and the quotation are one post each, under the README's key."""
    bodies = {int(row[0] or 0): row[6] or "" for row in sql_rows("posts") if len(row) == 7}
    seen: set[str] = set()
    twice = [key for key, body in bodies.items() if body in seen or seen.add(body)]  # type: ignore[func-returns-value]
    found = {
        "a post sent twice": twice,
        "a bot's refusal": [key for key, body in bodies.items() if re.match("I'm sorry, but as an AI", body)],
        "a good post that begins and ends with slop": [key for key, body in bodies.items() if re.match("As an AI.*I hope this helps!.*", body)],
        'must stay: a post that quotes "As an AI language model" as its topic': [k for k, b in bodies.items() if '"As an AI language model"' in b],
    }
    table = planted()["forum.sql"]
    assert {what: (len(keys), f"posts {keys[0]}") for what, keys in found.items()} == {what: table[what] for what in found}


def test_the_posts_fit_their_threads_and_users() -> None:
    """Every post names a thread and a user that exist, or no user; every thread has a first post."""
    users, threads = ({row[0] for row in sql_rows(name)} for name in ("users", "threads"))
    posts = [row for row in sql_rows("posts") if len(row) == 7]
    assert {row[1] for row in posts} == threads
    assert {row[2] for row in posts} <= users | {None}
    assert any(row[2] is None for row in posts)


@pytest.mark.parametrize("name", ["forum.sql", "instructions.csv"])
def test_no_real_host_is_named(name: str) -> None:
    """Every address in the sample is one of those that are reserved for examples."""
    text = (SOURCES / name).read_text(encoding="utf-8")
    hosts = re.findall(r"@([\w.-]+\.[a-z]{2,})", text) + re.findall(r"https?://([\w.-]+)", text)
    assert hosts
    assert {host for host in hosts if host != "example.org" and not host.endswith(".example.org")} == set()
    assert re.search(r"\b\w+\.(com|net|io|dev|de|uk)\b", text) is None
    addresses = re.findall(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", text)
    assert all(address.startswith(("192.168.", "192.0.2.")) for address in addresses)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The sample as the command makes it."""
    out = tmp_path_factory.mktemp("sample") / "python-docs"
    assert main([str(out)]) == 0
    return contents(out)


def test_the_same_python_makes_the_same_bytes(made: dict[str, bytes], tmp_path: Path) -> None:
    """Another process, folder, hash seed, home and locale change no byte."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "77", "HOME": str(tmp_path), "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    run = subprocess.run(
        [sys.executable, "-m", "pipeline.sample", "elsewhere"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, f"elsewhere: {len(made) - 1} pages made\n", "")
    assert contents(tmp_path / "elsewhere") == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_no_page_names_this_machine(made: dict[str, bytes]) -> None:
    """Neither paths of this machine nor addresses of objects get into a page."""
    here = {sys.prefix, sys.base_prefix, os.__file__, str(Path(os.__file__).parent), str(Path.cwd()), str(ROOT)}
    for name, content in made.items():
        text = content.decode("utf-8", "replace")
        assert not [path for path in here if len(path) > 4 and path in text], name
        assert re.search(r"file:/| at 0x[0-9a-f]{6}", text) is None, name


def test_the_pages_are_the_readmes(made: dict[str, bytes]) -> None:
    """The README counts the pages and names the odd ones; each is odd in the way it says."""
    table = planted()["python-docs/"]
    odd = [name for _, where in table.values() for name in where.split(", ") if name]
    assert set(made) == {MADE, *odd, *(f"{module}.html" for module in MODULES)}
    assert table["pages in all"][0] == len(made) - 1
    assert all(made[copy] == made[name] for name, copy in COPIES.items())
    article = re.search(rb"<article>.*</article>", made["bisect.html"], flags=re.DOTALL)
    assert article is not None and article[0] in made["print/bisect.html"] and b"<nav" not in made["print/bisect.html"]
    assert b'charset="iso-8859-1"' in made["heap-theory.html"] and "François" in made["heap-theory.html"].decode("iso-8859-1")
    with pytest.raises(UnicodeDecodeError):
        made["heap-theory.html"].decode("utf-8")
    assert re.sub(rb"<[^>]*>", b"", made["empty.html"]).strip() == b""
    assert made["picture.html"].startswith(b"\x89PNG") and b"\0" in made["picture.html"]


def test_every_page_has_an_article_worth_reading(made: dict[str, bytes]) -> None:
    """No module came out empty, and all of them together stay small enough to train on."""
    articles = [re.search(r"<article>(.*)</article>", made[f"{name}.html"].decode(), flags=re.DOTALL) for name in MODULES]
    sizes = [len(re.sub(r"<[^>]*>", "", article[1])) for article in articles if article]
    assert len(sizes) == len(MODULES)
    assert min(sizes) > 500
    assert 150_000 < sum(sizes) < 350_000


def test_a_main_text_extractor_finds_the_article(made: dict[str, bytes]) -> None:
    """An extractor of main text keeps nearly all of the article and nothing of the menu and footer."""
    trafilatura = pytest.importorskip("trafilatura", exc_type=ImportError)
    for name in ("textwrap", "argparse", "heapq"):
        page = made[f"{name}.html"].decode()
        article = re.search(r"<article>(.*)</article>", page, flags=re.DOTALL)
        text = trafilatura.extract(page)
        assert article is not None
        assert len(text) > 0.95 * len(re.sub(r"<[^>]*>", "", article[1]))
        assert "PSF License" not in text and "All modules" not in text


def test_a_finished_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with the mark of completeness is not touched, whatever else it holds."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MADE).write_text("1 pages, Python 3\n")
    assert main([str(tmp_path / "out")]) == 0
    assert list(contents(tmp_path / "out")) == [MADE]
    assert capsys.readouterr().out.endswith("already made\n")


def test_a_folder_of_the_user_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds something else, and a file, are refused with one line and exit code 2."""
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        assert main([str(out)]) == 2
        assert capsys.readouterr().err == f"{out}: exists and is not a finished sample; name another folder, or remove this one\n"
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_leftovers_of_a_killed_run_do_not_get_in(made: dict[str, bytes], tmp_path: Path) -> None:
    """What a killed run left beside the target is thrown away, not mixed in."""
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "stale.html").write_text("stale")
    assert main([str(tmp_path / "out")]) == 0
    assert contents(tmp_path / "out") == made
    assert not (tmp_path / ".out.partial").exists()


def test_wrong_arguments_print_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument the command says how to use it and exits with 2; asked for help, with 0."""
    assert (main([]), main(["--help"])) == (2, 0)
    assert capsys.readouterr().out.count("usage: python -m pipeline.sample OUT") == 2


def test_addresses_do_not_reach_a_signature() -> None:
    """A default value that shows its address is shown without it."""

    def function(value: object = object()) -> None:
        """Say something."""

    assert "= &lt;object object&gt;)" in Writer().document(function, "function")


def test_kinds_of_blocks() -> None:
    """Paragraphs, headings, lists, numbers and code are told apart; code keeps its line breaks and indentation."""
    text = "Read it.\n\nUsage\n-----\nThings:\n- one\n  more\n- two\n\n1. first\n2. second\n\n    if x:\n        y()\n\n>>> f()\n3"
    assert list(blocks(text)) == [
        ("paragraph", ["Read it."]),
        ("heading", ["Usage"]),
        ("paragraph", ["Things:"]),
        ("list", ["one more", "two"]),
        ("numbers", ["first", "second"]),
        ("code", ["    if x:", "        y()", "", ">>> f()", "3"]),
    ]


@given(st.text(st.sampled_from("ab:>-=*1. \t\n\x0c\u2028"), max_size=80))
def test_blocks_lose_no_word(docstring: str) -> None:
    """Whatever a docstring looks like, its letters come out in their order."""
    assert re.findall("[ab]", "".join("".join(lines) for _, lines in blocks(docstring))) == re.findall("[ab]", docstring)


def test_pages_do_not_depend_on_what_was_imported_before(made: dict[str, bytes]) -> None:
    """A second call in the same process gives the same pages as the first."""
    assert pages() == {name: content for name, content in made.items() if name != MADE}
