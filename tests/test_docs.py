"""What the pages show is so: commands are run and their output compared, or are checked against what the commands take; links lead somewhere."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.init import lay_out
from pipeline.inspection import settings_table
from pipeline.settings import read_yaml
from tests.documented import BUILT, CHECKOUT, PAGES, Block, Check, Command, blocks, inline_commands, simple_commands

TUTORIAL = CHECKOUT / "docs" / "tutorial.md"
FOLLOWED = [TUTORIAL, *sorted((CHECKOUT / "docs" / "howto").glob("*.md"))]
"""Pages whose blocks follow each other and are run as they stand, in a project."""

QUICK = ("tables", "show", "why", "try", "verify", "report", "init", "export data", "completion")
"""Commands that are run wherever a page has them, when what they read is there."""


def name_of(page: Path) -> str:
    """A page as the tests are named by it."""
    return page.relative_to(CHECKOUT).as_posix()


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What bash makes of a command; last on its output stands the folder that it ended in."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # there when the tests were started by make, which would then name its folders
    outside = {name: value for name, value in os.environ.items() if name not in of_make}
    environment = {**outside, "PATH": path, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "80"}
    ending = f"{command}\nstatus=$?; printf '\\n%s' \"$PWD\"; exit $status"
    return subprocess.run(
        ["bash", "-c", ending], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def followed(block: Block, folder: Path) -> Path:
    """Run a block as it stands and compare what it prints with what the page shows; gives the folder it ends in."""
    commands = block.commands() if block.text.startswith("$ ") else [Command(f"set -e\n{block.text}")]
    for command in commands:
        done = shell(command.line, folder)
        printed, _, where = done.stdout.rpartition("\n")
        assert done.returncode == 0, f"{block.where}: {command.line}\n{printed}"
        if command.output is not None:
            assert same(command.output, printed), f"{block.where}: {command.line}\n{printed}"
        folder = Path(where)
    return folder


def same(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed: ``...`` stands for anything, blanks at the ends of lines and empty lines at the end for nothing."""
    plain = ["\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n" for text in (shown, printed)]
    return doctest.OutputChecker().check_output(*plain, doctest.ELLIPSIS)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with the sample, made up to its tokens."""
    folder = tmp_path_factory.mktemp("built") / "project"
    lay_out(folder)
    done = shell("make extract clean tokenize", folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "project"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_understood(page: Path) -> None:
    """Every command, option, goal, extra and file that a page names exists, also where the command is not run."""
    check = Check(page.read_text(encoding="utf-8"))
    for block in blocks(page):
        commands = block.commands()
        seen = bool(commands) or not re.search(r"^(\$ |python -m |make [a-z])", block.text, re.M)
        assert seen, f"{block.where}: has a command and something else; begin commands with '$ ' in a block of their own"
        for command in commands:
            check.line(command.line)
    for line in inline_commands(page):
        check.mention(line)
    assert not check.problems, "\n".join(check.problems)


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED, ids=name_of)
def test_pages_can_be_followed(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The blocks of the tutorial follow each other from an empty folder on, those of a how-to in a project; each prints what the page shows."""
    folder = tmp_path if page == TUTORIAL else request.getfixturevalue("project")
    for block in blocks(page, "sh", "console"):
        if block.is_run:
            folder = followed(block, folder)


def quick_commands() -> Iterator[tuple[str, str]]:
    """Where it stands, and the command, of each one in the other pages that is quickly run."""
    for page in PAGES:
        for block in blocks(page) if page not in FOLLOWED else ():
            for command in block.commands():
                words = next(simple_commands(command.line))
                if any(f"-m pipeline {name} " in f"{' '.join(words)} " for name in QUICK) and "|" not in command.line:
                    yield block.where, command.line


@pytest.mark.slow
def test_quick_commands_run(built: Path) -> None:
    """What is quick and reads what the sample project has ends well."""
    ran = 0
    for where, line in quick_commands():
        words = next(simple_commands(line))
        reads = [word for word in words[4:] if word.startswith((*BUILT, "stages/", "filters/"))]
        needs_more = any(not (built / word).exists() for word in reads) or re.search(r"\b[A-Z]{3,}\b|posts\.csv|9f27c1", line)
        if needs_more or words[3] in ("init", "export"):
            continue
        done = shell(line, built)
        assert done.returncode == 0, f"{where}: {line}\n{done.stdout}"
        ran += 1
    assert ran >= 5


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links, their anchors, and pages named between backticks are there."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            other = (page.parent / path).resolve() if path else page
            assert other.exists(), target
            assert not anchor or anchor in anchors(other), target
    for name in re.findall(r"`((?:docs/[\w/-]+|[A-Z]+)\.md)`", text):
        assert (CHECKOUT / name).is_file(), name


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_found_from_the_readme() -> None:
    """No page stands alone: the README names each one."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    lost = [name_of(page) for page in PAGES if page.name not in readme and page.name != "README.md"]
    assert not lost


def test_the_table_of_settings_is_current() -> None:
    """docs/settings.md says what the code says (else: python -m pipeline.inspection.settings_table docs/settings.md), and no key is without words."""
    page = (CHECKOUT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table.put(page) == page
    rows = [line.split(" | ") for line in settings_table.text().splitlines() if line.startswith("| `")]
    assert len(rows) > 100 and all(len(row) == 4 and row[3].removesuffix("|").strip() for row in rows)


@pytest.mark.parametrize("name", ["extract", "filter", "tokenize", "perplexity"])
def test_every_shipped_key_is_in_the_table(name: str) -> None:
    """Keys of the settings files that come along stand in the reference."""
    page = (CHECKOUT / "docs" / "settings.md").read_text(encoding="utf-8")
    for key in read_yaml(CHECKOUT / "stages" / f"{name}.yaml").lines:
        last = key[-1]
        known = f"`{last}`" in page or f".{last}\n" in page
        own_name = key[0] == "sources" and (len(key) == 2 or (len(key) > 3 and key[-2] == "tables"))
        assert known or own_name or len(key) == 1 or last.isdigit(), ".".join(key)


def test_output_is_compared() -> None:
    """Three dots stand for anything, and nothing else does."""
    assert same("a ... c\n", "a b c  \n\n") and same("x\n...\nz\n", "x\ny\ny\nz\n")
    assert not same("a b\n", "a c\n")


@pytest.mark.parametrize(
    "line",
    [
        "python -m pipeline tabels a.csv OUT",
        "python -m pipeline tables a.csv OUT --peak",
        "python -m pipeline.stages.filtre raw clean",
        "make cleen",
        "make train RECIPES=a",
        "python -m pipeline estimate train/gone.yaml",
        "pip install 'gristmill[trian]'",
        "frobnicate --all",
        "make extract && python -m pipeline why",
    ],
)
def test_what_would_not_be_understood_is_found(line: str) -> None:
    """The check that all pages go through does find mistakes."""
    check = Check("")
    check.line(line)
    assert check.problems


def test_a_mention_is_checked_too() -> None:
    """Options of a command in the middle of a sentence exist."""
    check = Check("")
    check.mention("python -m pipeline why ID --documents N")
    check.mention("make report BASE=other/data")
    assert not check.problems
    check.mention("python -m pipeline why ID --documentz N")
    check.mention("make reports")
    assert len(check.problems) == 2
