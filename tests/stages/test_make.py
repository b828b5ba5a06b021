"""The DAG of the Makefile: what runs again after which change. Everything here is the real Makefile and the real stages, on small data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import CHECKOUT, environment, write_messy_folder

EXTRACT = """sources:
  messy: {path: data/sources/messy}
  notes: {path: data/sources/notes.md}
"""

RECIPE = """base_model: tiny
sequence_len: 128
micro_batch_size: 1
max_steps: 2
learning_rate: 1e-3
lora_r: 4
eval_steps: 2
save_steps: 2
"""


class Bench:
    """A project folder with the real Makefile, and an environment that is this interpreter's."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(CHECKOUT / name, folder)
        (folder / "pipeline").mkdir()
        shutil.copy(CHECKOUT / "pipeline" / "goals.mk", folder / "pipeline")
        for name in ("stages", "filters"):
            shutil.copytree(CHECKOUT / name, folder / name)
        (folder / "train").mkdir()
        (folder / "train" / "tiny.yaml").write_text(RECIPE)
        (folder / "stages" / "extract.yaml").write_text(EXTRACT)
        shutil.copytree(model, folder / "tiny")
        write_messy_folder(folder / "data" / "sources" / "messy")
        (folder / "data" / "sources" / "notes.md").write_text("# Notes\n\nBread wants time more than it wants work, and gardens are the same.\n")
        (folder / ".venv" / "bin").mkdir(parents=True)
        launcher = folder / ".venv" / "bin" / "python"
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        launcher.chmod(0o755)
        (folder / ".venv" / ".made").touch()

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make with the tiny recipe, unless another one is given."""
        recipe = [] if any(item.startswith("RECIPE=") for item in arguments) else ["RECIPE=tiny"]
        return subprocess.run(
            ["make", *recipe, *arguments], cwd=self.folder, env=environment({"MAKEFLAGS": ""}), capture_output=True, text=True, timeout=600, check=False
        )

    def would_run(self, *arguments: str) -> list[str]:
        """The outputs of the stages that ``make -n`` would run, in order."""
        return self.stages(self.make("-n", *(arguments or ("train",))))

    def stages(self, done: subprocess.CompletedProcess[str]) -> list[str]:
        """The outputs of the stages that make named."""
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith(".venv/bin/python -m pipeline.stages.")]
        return [next(word for word in reversed(line) if word.startswith("data/")) if "--recipe" not in line else line[line.index("--recipe") - 1] for line in lines]

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a piece of a file."""
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


ALL = ["data/raw/messy", "data/raw/notes", "data/clean", "data/tokens/tiny-128", "data/runs/tiny"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Bench:
    """A bench on which make train has run once."""
    bench = Bench(tmp_path_factory.mktemp("bench"), tiny_model)
    assert bench.would_run("-j2", "train") == ALL
    assert sorted(path.name for path in (bench.folder / "data").iterdir()) == [".plan", "sources"]
    done = bench.make("-j2", "extract", "clean", "tokenize", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.stages(done) == ALL
    return bench


@pytest.fixture
def bench(built: Bench, tmp_path: Path, tiny_model: Path) -> Bench:
    """A copy of the built bench of one's own."""
    shutil.rmtree(tmp_path)
    shutil.copytree(built.folder, tmp_path, symlinks=True)
    copy = Bench.__new__(Bench)
    copy.folder = tmp_path
    return copy


def test_again(bench: Bench) -> None:
    """A second run builds nothing."""
    done = bench.make("extract", "clean", "tokenize", "train")
    assert bench.stages(done) == []


def test_touch_comment_and_unused_list(bench: Bench) -> None:
    """Times, comments, white space and a list that no rule names change nothing."""
    for path in bench.folder.rglob("*"):
        if path.is_file() and ".venv" not in path.parts and ".plan" not in path.parts and path.name != "pyproject.toml":
            os.utime(path)
    with (bench.folder / "stages" / "filter.yaml").open("a") as file:
        file.write("\n# a remark\n\n")
    (bench.folder / "filters" / "unused.yaml").write_text("about: nothing\nrules: []\n")
    assert bench.would_run() == []


def test_value_of_a_rule(bench: Bench) -> None:
    """One value of a rule re-runs the cleaning and what follows; where the rows stay the same, nothing follows."""
    bench.edit("stages/filter.yaml", "min_chars: 20", "min_chars: 21")
    assert bench.would_run()[0] == "data/clean" and "data/raw/messy" not in bench.would_run()
    assert bench.stages(bench.make("train")) == ["data/clean"]
    assert bench.would_run() == []
    bench.edit("stages/filter.yaml", "min_chars: 21", "min_chars: 100")
    assert bench.stages(bench.make("train")) == ALL[2:]
    assert bench.would_run() == []


def test_content_of_a_list(bench: Bench) -> None:
    """The content of a list that a rule names re-runs the cleaning; a remark in it does not."""
    path = bench.folder / "filters" / "drop.txt"
    path.write_text(path.read_text() + "\n# nothing yet\n")
    assert bench.would_run() == []
    path.write_text(path.read_text() + "0123456789abcdef0123456789abcdef\n")
    assert bench.would_run()[0] == "data/clean"
    assert "drop" in bench.make("plan").stdout


def test_recipes(bench: Bench) -> None:
    """A recipe's value re-runs its training only; another length brings its own tokens; a new recipe leaves the old one alone."""
    bench.edit("train/tiny.yaml", "max_steps: 2", "max_steps: 3")
    assert bench.would_run() == ["data/runs/tiny"]
    bench.edit("train/tiny.yaml", "max_steps: 3", "max_steps: 2")
    assert bench.would_run() == []
    shutil.copy(bench.folder / "train" / "tiny.yaml", bench.folder / "train" / "other.yaml")
    assert bench.would_run() == []
    assert bench.would_run("train", "RECIPE=other") == ["data/runs/other"]
    assert bench.would_run("train", "RECIPE=all") == ["data/runs/other"]
    bench.edit("train/other.yaml", "sequence_len: 128", "sequence_len: 64")
    assert bench.would_run("train", "RECIPE=other") == ["data/tokens/tiny-64", "data/runs/other"]


def test_source_files(bench: Bench) -> None:
    """A source file added, changed or removed re-runs its source and what follows, and no other source."""
    sources = bench.folder / "data" / "sources"
    (sources / "messy" / "new: odd $name.txt").write_text("A new text with an odd file name, long enough to be kept by every rule.")
    assert bench.would_run() == ["data/raw/messy", *ALL[2:]]
    assert "new: odd $name.txt is new" in bench.make("plan").stdout
    (sources / "messy" / "new: odd $name.txt").unlink()
    assert bench.would_run() == []
    (sources / "notes.md").write_text("# Notes\n\nSomething else entirely stands here now, about ships and the sea.\n")
    assert bench.would_run() == ["data/raw/notes", *ALL[2:]]
    (sources / "messy" / "garden.sql").unlink()
    assert bench.would_run() == ALL


def test_same_bytes_stop_the_work(bench: Bench) -> None:
    """A change that leaves a stage's output as it was runs that stage and nothing after it."""
    with (bench.folder / "data" / "sources" / "messy" / "pages" / "picture.html").open("ab") as picture:
        picture.write(b"more of the picture")
    assert bench.stages(bench.make("train")) == ["data/raw/messy"]
    assert bench.would_run() == []
    assert bench.stages(bench.make("-j2", "train")) == []


def test_deleted_and_damaged_outputs(bench: Bench) -> None:
    """An output that is gone or not whole is built again; equal bytes stop there."""
    shutil.rmtree(bench.folder / "data" / "clean")
    assert bench.stages(bench.make("train")) == ["data/clean"]
    next((bench.folder / "data" / "clean").glob("part-*.parquet")).write_bytes(b"PAR1")
    assert bench.stages(bench.make("train")) == ["data/clean"]
    assert bench.make("verify").returncode == 0


def test_killed_in_the_middle(bench: Bench) -> None:
    """After SIGKILL of a stage the old output is whole, and the next make brings everything up to date."""
    bench.edit("stages/filter.yaml", "min_chars: 20", "min_chars: 100")
    before = (bench.folder / "data" / "clean" / "__manifest.json").read_bytes()
    process = subprocess.Popen(["make", "RECIPE=tiny", "clean"], cwd=bench.folder, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL)
    while not list((bench.folder / "data").glob(".clean.partial-*")):
        assert process.poll() is None, "the stage was over before it could be killed"
        time.sleep(0.001)
    os.killpg(process.pid, 9)
    process.wait()
    assert (bench.folder / "data" / "clean" / "__manifest.json").read_bytes() == before
    assert bench.stages(bench.make("clean")) == ["data/clean"]
    assert bench.would_run("clean") == []


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        ("stages/extract.yaml", "data/sources/notes.md", "data/sources/note.md", "sources.notes.path: data/sources/note.md is not there; did you mean"),
        ("stages/extract.yaml", "path: data/sources/messy", "pth: data/sources/messy", "sources.messy.pth: unknown key; did you mean 'path'?"),
        ("stages/filter.yaml", "min_chars", "min_char", "remove.length.min_char: unknown key; did you mean 'min_chars'?"),
        ("stages/filter.yaml", "roles: [assistant, text]            #", "rules: [filters/closer.yaml]  #", "filters/closer.yaml: is not there; did you mean 'filters/closers.yaml'?"),
        ("train/tiny.yaml", "learning_rate", "learning_rat", "learning_rat: unknown key; did you mean 'learning_rate'?"),
    ],
)
def test_mistakes_stop_make_before_anything_runs(bench: Bench, name: str, old: str, new: str, line: str) -> None:
    """A wrong path or key in a settings file or in the chosen recipe stops make before anything runs."""
    bench.edit(name, old, new)
    done = bench.make("extract")
    assert done.returncode != 0 and line in done.stderr
    assert "-m pipeline.stages" not in done.stdout and "Traceback" not in done.stderr


def test_unknown_recipe_and_other_goals(bench: Bench) -> None:
    """A recipe that is not there is one clear line; help and reset need no settings and no environment."""
    assert "RECIPE=tiyn: is not in train/; did you mean 'tiny'?" in bench.make("train", "RECIPE=tiyn").stderr
    shutil.rmtree(bench.folder / ".venv")
    (bench.folder / "stages" / "extract.yaml").write_text("sources: [")
    assert "tokenize" in bench.make("help").stdout
    assert bench.make("reset").returncode == 0
    assert sorted(path.name for path in (bench.folder / "data").iterdir()) == ["sources"]


def test_only_the_changed_part_is_read_again(bench: Bench) -> None:
    """Of many files only the part that holds the changed one is extracted again; the others' shards are linked over."""
    many = bench.folder / "data" / "sources" / "messy" / "many"
    many.mkdir()
    for n in range(600):
        (many / f"{n:04d}.txt").write_text(f"This is text number {n}, and it has enough words to stay in the dataset.")
    assert bench.make("extract").returncode == 0
    raw = bench.folder / "data" / "raw" / "messy"
    before = {path.stat().st_ino for path in raw.glob("part-*.parquet")}
    (many / "0300.txt").write_text("This text has changed, but it still has enough words to stay in the dataset.")
    assert bench.stages(bench.make("extract")) == ["data/raw/messy"]
    after = {path.stat().st_ino for path in raw.glob("part-*.parquet")}
    assert len(before) > 5 and len(after - before) == 1


def test_names_of_sources_stay_out_of_make(built: Bench) -> None:
    """The generated rules name nodes, never source files."""
    assert "bread" not in (built.folder / "data" / ".plan" / "rules.mk").read_text()
