"""A user's own classes in the filter stage: filters, editors and scores named by module and class."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets import open_dataset
from pipeline.report import Report

from .conftest import CHECKOUT, environment, rows_as_messages, run_module

MINE = '''"""Rules of our own."""
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.documents import turns
from pipeline.filters.edits import Replacement, apply, edit_pieces
from pipeline.filters.verdicts import verdicts


@dataclass(frozen=True)
class Shouting:
    """Removes documents in capitals."""

    max_share: float = 0.5
    version: ClassVar[int] = 1

    def judge(self, batch):
        found = []
        view = turns(batch)
        for document, text in zip(view.document.tolist(), view.content.to_pylist()):
            if "BOOM" in text:
                raise RuntimeError(f"cannot bear {object()}")
            if sum(map(str.isupper, text)) > self.max_share * len(text):
                found.append((document, {"rule_id": "caps", "reason": "shouts"}))
        return verdicts(len(batch), found)


class NoStars:
    """Cuts stars."""

    version = 1

    def edit(self, batch):
        def step(text, role):
            if "BANG" in text:
                raise ValueError("BANG")
            return apply(text, [Replacement(i, i + 1, "", "star") for i, c in enumerate(text) if c == "*"])

        return edit_pieces(batch, turns(batch), step)


@dataclass(frozen=True)
class Chars:
    """Scores length and stars."""

    unit: int = 1
    version: ClassVar[int] = 1

    def fields(self):
        return {"chars": pa.float64(), "stars": pa.int32()}

    def score(self, batch):
        text = pc.coalesce(batch.column("text"), pa.scalar("", pa.large_string()))
        if pc.any(pc.match_substring(text, "CRACK")).as_py():
            raise ArithmeticError("CRACK")
        return {"stars": pc.count_substring(text, "*"), "chars": pc.divide(pc.cast(pc.utf8_length(text), pa.float64()), self.unit)}


class BadRows(NoStars):
    def judge(self, batch):
        return verdicts(len(batch) + 1, [])


class BadType(NoStars):
    def judge(self, batch):
        return [True]


class Silent(NoStars):
    def edit(self, batch):
        from pipeline.documents import with_contents
        from pipeline.filters.verdicts import Edits, no_cuts
        view = turns(batch)
        return Edits(with_contents(batch, view, pc.utf8_upper(view.content)), no_cuts())


class BadScore(Chars):
    def score(self, batch):
        return {"chars": pa.array([1.0]), "stars": pa.array([1])}


class Broken(NoStars):
    def judge(self, batch):
        return nothing


class NoVersion:
    def judge(self, batch):
        return None
'''

TEXTS = ["A quiet line of text, number {n}.", "LOUD AND LOUDER, NUMBER {n}.", "With a star * in it, number {n}."]
SETTINGS = """edit:
  stars: {class: rules_of_mine:NoStars}
score:
  size: {class: rules_of_mine:Chars, unit: 2}
remove:
  loud: {class: rules_of_mine:Shouting, max_share: 0.4}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with rules of its own, settings that name them, and three files of texts."""
    (tmp_path / "rules_of_mine.py").write_text(MINE)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "filter.yaml").write_text(SETTINGS)
    write_texts(tmp_path, [text.format(n=n) for n in range(30) for text in TEXTS])
    return tmp_path


def write_texts(folder: Path, texts: list[str]) -> None:
    """The texts as JSON lines."""
    (folder / "raw").mkdir(exist_ok=True)
    (folder / "raw" / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def clean(project: Path, *arguments: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """The filter stage in the project's folder."""
    done = run_module("pipeline.stages.filter", "raw", "clean", *arguments, cwd=project)
    assert not ok or done.returncode == 0, done.stderr
    return done


def rows(project: Path, part: str = "", dataset: str = "clean") -> list[dict[str, object]]:
    """The rows of a part."""
    return [row for file in open_dataset(project / dataset).files(part) for row in pq.read_table(file).to_pylist()]


def test_own_classes_work_like_built_in_ones(project: Path) -> None:
    """A filter, an editor and a scorer of the project's own run in the order of the file; rules are named as in the settings."""
    clean(project)
    assert len(rows(project)) == 60 and len(rows(project, "__removed")) == 30
    assert {row["rule"] for row in rows(project, "__removed")} == {"loud.caps"}
    assert {(row["rule"], row["before"]) for row in rows(project, "__edited")} == {("stars.star", "*")}
    for row in rows(project) + rows(project, "__removed"):
        assert row["scores"] == {"chars": len(row["text"]) / 2, "stars": 0}  # after the editor
    report = Report.from_plain(open_dataset(project / "clean").manifest["counts"])
    assert report.total().edited == {"stars": 30}


def test_a_class_as_the_name(project: Path) -> None:
    """The entry may be called by the class itself; then the class's name is the rule's."""
    (project / "stages" / "filter.yaml").write_text("remove:\n  rules_of_mine:Shouting: {max_share: 0.4}\n")
    clean(project)
    assert {row["rule"] for row in rows(project, "__removed")} == {"Shouting.caps"}


def test_any_workers_give_the_same(project: Path) -> None:
    """Processes import the class from the project's folder, and the result is the same."""
    for number in range(4):
        (project / "raw" / f"more{number}.txt").write_text(f"Another text, number {number}, quite long enough.")
    digests = set()
    for workers, name in ((1, "one"), (3, "three")):
        run_module("pipeline.stages.extract", "raw", f"data/{name}", cwd=project)
        done = run_module("pipeline.stages.filter", "raw", f"data/{name}", name, "--workers", workers, cwd=project)
        assert done.returncode == 0, done.stderr
        digests.add(open_dataset(project / name).digest)
    assert len(digests) == 1


def test_dask_workers_find_the_class(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Dask worker that stands in another folder imports the class, and an edit of it between two runs counts."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    code = (
        "from distributed import LocalCluster\nif __name__ == '__main__':\n"
        "    c = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)\n    print(c.scheduler_address, flush=True)\n    input()"
    )
    (elsewhere / "cluster.py").write_text(code)
    cluster = subprocess.Popen(
        [sys.executable, "cluster.py"], cwd=elsewhere, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        clean(project, "--scheduler", address)
        assert len(rows(project, "__removed")) == 30
        (project / "rules_of_mine.py").write_text(MINE.replace('"caps"', '"capitals"'))
        clean(project, "--scheduler", address)
        assert {row["rule"] for row in rows(project, "__removed")} == {"loud.capitals"}
    finally:
        cluster.communicate("\n", timeout=60)


def test_editing_the_file_runs_clean_again(project: Path) -> None:
    """The class's source, its version and its settings are part of the stage's key."""
    keys = []
    for source, settings in ((MINE, ()), (MINE, ()), (MINE + "\n# changed\n", ()), (MINE + "\n# changed\n", ("--set", "remove.loud.max_share=0.9"))):
        (project / "rules_of_mine.py").write_text(source)
        clean(project, *settings)
        keys.append(open_dataset(project / "clean").key)
    assert keys[0] == keys[1] and len(set(keys)) == 3
    assert len(rows(project, "__removed")) == 0


def test_what_a_rule_cannot_bear_costs_itself_only(project: Path) -> None:
    """A document on which a filter, an editor or a scorer raises goes to quarantine with the error; its neighbours go on."""
    texts = [text.format(n=n) for n in range(30) for text in TEXTS]
    texts[7] += " BOOM"
    texts[40] += " *BANG*"
    texts[60] += " *CRACK*"
    write_texts(project, texts)
    clean(project)
    found = {row["error"]: row["raw"] for row in rows(project, "__quarantine")}
    assert set(found) == {
        "loud failed: RuntimeError: cannot bear <object object at 0x...>",
        "stars failed: ValueError: BANG",
        "size failed: ArithmeticError: CRACK",
    }
    assert sum(b"BOOM" in raw for raw in found.values()) == 1
    assert len(rows(project)) + len(rows(project, "__removed")) == 87
    whole = {row["id"] for part in ("", "__removed") for row in rows(project, part)}
    assert {row["id"] for row in rows(project, "__edited")} <= whole
    report = Report.from_plain(open_dataset(project / "clean").manifest["counts"])
    report.check("filter")
    assert report.total().quarantined == {"loud failed": 1, "stars failed": 1, "size failed": 1}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            "remove:\n  x: {class: rules_of_mine:Shoutin}",
            "filter.yaml:2 remove.x.class: rules_of_mine has no class Shoutin; did you mean 'Shouting'?",
        ),
        ("remove:\n  x: {class: rules_of_min:Shouting}", "filter.yaml:2 remove.x.class: there is no module rules_of_min in "),
        ("remove:\n  x: {class: rules_of_mine}", "remove.x.class: 'rules_of_mine' is not a class; write package.module:Class"),
        ("remove:\n  x: {class: rules_of_mine:Chars}", "remove.x.class: rules_of_mine:Chars has no method judge; see docs/cleaning.md"),
        ("remove:\n  x: {class: rules_of_mine:NoVersion}", "remove.x.class: rules_of_mine:NoVersion has no version;"),
        ("remove:\n  x: {class: rules_of_mine:Shouting, max: 1}", "remove.x.max: unknown key; "),
        ("edit:\n  x: {class: rules_of_mine:NoStars, max: 1}", "edit.x: rules_of_mine:NoStars takes no settings; "),
        ("remove:\n  length: {class: rules_of_mine:Shouting}", "remove.length: the name length is taken; "),
        ("remove:\n  x.y: {class: rules_of_mine:Shouting}", "remove.x.y: is not a name; "),
        ("remove:\n  x: {class: torn:Shouting}", "remove.x.class: torn cannot be imported (SyntaxError: "),
        ("remove:\n  x: {class: rules_of_mine:BadRows}", "remove.x: its verdict has 91 rows for 90 documents; give one row a document"),
        ("remove:\n  x: {class: rules_of_mine:BadType}", "remove.x: its verdict is a list and not a RecordBatch; "),
        ("remove:\n  x: {class: rules_of_mine:Broken}", "x: fails on every document (NameError: name 'nothing' is not defined at rules_of_mine.py:"),
        ("edit:\n  x: {class: rules_of_mine:Silent}", "edit.x: changed the text of "),
        ("score:\n  x: {class: rules_of_mine:BadScore}", "score.x: its score chars has 1 values for 90 documents; give one value a document"),
        ("score:\n  x: {class: rules_of_mine:Chars}\n  y: {class: rules_of_mine:Chars}", "score.y: its column chars is one of x too; leave one out"),
        ("score:\n  nothing: {}", "score.nothing: unknown rule; "),
    ],
)
def test_mistakes_are_one_line(settings: str, line: str, project: Path) -> None:
    """A class that is not there or does not fit, and an answer of the wrong shape, are one line with the place in the settings."""
    (project / "torn.py").write_text("def (:\n")
    (project / "stages" / "filter.yaml").write_text(settings)
    done = clean(project, "--workers", "1", ok=False)
    assert done.returncode in (1, 2) and line in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "clean").exists()


def test_later_stages_read_datasets_with_and_without_scores(project: Path, tiny_tokenizer: Path) -> None:
    """Scores have one schema in every shard; cleaning again and tokenizing read datasets with other scores, or none, together."""
    clean(project)
    (project / "talk.jsonl").write_text("\n".join(map(json.dumps, rows_as_messages())))
    assert run_module("pipeline.stages.filter", "talk.jsonl", "talk", cwd=project, env={}).returncode == 0
    none = run_module("pipeline.stages.filter", "talk.jsonl", "none", "--set", "score={}", cwd=project)
    assert none.returncode == 0, none.stderr
    files = [file for part in ("", "__removed") for file in open_dataset(project / "clean").files(part)]
    assert {str(pq.read_schema(file).field("scores").type) for file in files} == {"struct<chars: double, stars: int32>"}
    assert "scores" not in pq.read_schema(open_dataset(project / "none").files()[0]).names
    again = run_module("pipeline.stages.filter", "clean", "none", "again", "--set", "score={}", cwd=project)
    assert again.returncode == 0, again.stderr
    assert "scores" not in pq.read_schema(open_dataset(project / "none").files()[0]).names
    brought = {row["source"]: row["scores"] for row in rows(project, dataset="again")}
    assert brought["raw"]["chars"] > 0 and brought["talk"] == {"chars": None, "stars": None}  # the input's scores stay
    done = run_module("pipeline.stages.tokenize", "clean", "none", "tokens", "--tokenizer", tiny_tokenizer, "--length", "128", cwd=project)
    assert done.returncode == 0, done.stderr
    assert open_dataset(project / "tokens").manifest["splits"]["train"]["rows"] > 0


def test_no_document_at_all_keeps_the_schema(project: Path) -> None:
    """Where everything is removed, the dataset's one shard still has the scores' columns."""
    write_texts(project, ["LOUD AND LOUDER, AND ALL OF IT."])
    clean(project)
    (file,) = open_dataset(project / "clean").files()
    assert pq.read_table(file).num_rows == 0 and pq.read_schema(file).field("scores").type.num_fields == 2


def test_the_command_script_finds_the_project(project: Path) -> None:
    """Called as a console script, which has no folder to import from, the project's folder is still where classes are looked for."""
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p]; from pipeline.stages import filter as f; sys.exit(f.main(['raw', 'clean', '--quiet']))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pa.types.is_struct(pq.read_schema(open_dataset(project / "clean").files()[0]).field("scores").type)


def test_the_example_of_the_documentation_runs(project: Path) -> None:
    """The class of docs/cleaning.md, as it stands there, removes what shouts."""
    page = (CHECKOUT / "docs" / "cleaning.md").read_text()
    source = page.partition("<!-- example: filters/shouting.py -->\n```python\n")[2].partition("```")[0]
    settings = page.partition("```yaml\nremove:\n  loud:")[2].partition("```")[0]
    (project / "filters").mkdir()
    (project / "filters" / "shouting.py").write_text(source)
    (project / "stages" / "filter.yaml").write_text(f"remove:\n  loud:{settings}")
    clean(project)
    assert len(source.strip().splitlines()) <= 24
    assert [row["rule"] for row in rows(project, "__removed")] == ["loud"] * 30
    assert {row["reason"] for row in rows(project, "__removed")} == {"shouts"}
