"""A unit that kills or hangs its worker is found and left out; its neighbours stay, with processes and after a run in one process that died."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.attending import Work, attend
from pipeline.commits import WORK, Build
from pipeline.errors import GristmillError
from pipeline.pools import WATCHDOG, pool, run_step, watchdog_seconds
from pipeline.progress import Progress
from pipeline.units import units

CHECKOUT = Path(__file__).resolve().parents[1]
QUIET = Progress("test", quiet=True)


def _loop() -> None:
    """Hold the interpreter for ever, as a regular expression can."""
    import re

    re.match(r"(a|a)*$", "a" * 60 + "b")


DEEDS = {
    "exit": lambda: os._exit(3),
    "leave": lambda: sys.exit(0),
    "crash": lambda: ctypes.string_at(1),
    "memory": lambda: bytearray(1 << 60),
    "loop": _loop,
    "sleep": lambda: time.sleep(10_000),
}


def work(folder: Path, name: str, task: list[str]) -> dict[str, Any]:
    """A task over words, of which some are deeds; pieces of 100."""
    done, lost = [], []
    for piece, fault in units(task[start : start + 100] for start in range(0, len(task), 100)):
        for word in piece:
            if fault is not None:
                lost.append([word, fault])
            else:
                DEEDS.get(word, lambda: None)()
                done.append(word)
    (folder / f"{name}.txt").write_text(" ".join(done))
    return {"done": len(done), "lost": lost}


def words(**deeds: int) -> list[str]:
    """250 words with deeds at the given places."""
    plain = [f"w{n}" for n in range(250)]
    for deed, place in deeds.items():
        plain[place] = deed
    return plain


def run(folder: Path, tasks: dict[str, list[str]], workers: int) -> tuple[list[Any], list[str]]:
    """Records and files of a step."""
    with Build(folder, "k") as build, pool(workers, num_tasks=len(tasks)) as executor:
        records = run_step(build, "work", work, tasks, executor, QUIET)
        assert not list((build.folder / WORK).glob("*mark")) + list((build.folder / WORK).glob("search*"))
        return records, [(build.folder / f"{name}.txt").read_text() for name in tasks]


@pytest.fixture
def short_watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A watchdog of seconds that a test can wait for."""
    monkeypatch.setenv(WATCHDOG, "5")
    yield


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("exit", "ended its worker: exit code 3"),
        ("leave", "ended its worker: SystemExit"),
        ("crash", "ended its worker: SIGSEGV"),
        ("memory", "ended its worker: MemoryError"),
        ("loop", "did not end: stopped by the watchdog"),
        ("sleep", "did not end: stopped by the watchdog"),
    ],
)
def test_one_unit_costs_one_unit(deed: str, reason: str, tmp_path: Path, short_watch: None) -> None:
    """Whatever a unit does to its worker, it is left out with the reason, and all others of all tasks are done."""
    tasks = {"a": words(), "b": words(**{deed: 137}), "c": words()}
    records, texts = run(tmp_path / "out", tasks, 2)
    assert [record["lost"] for record in records] == [[], [[deed, reason]], []]
    assert [text.split() for text in texts] == [[word for word in task if word != deed] for task in tasks.values()]


def test_a_single_task_and_several_units(tmp_path: Path) -> None:
    """One task runs in a process of its own too, and each of its bad units is found."""
    records, _ = run(tmp_path / "out", {"a": words(exit=0, crash=99, leave=249)}, 2)
    assert [word for word, _ in records[0]["lost"]] == ["exit", "crash", "leave"]
    assert records[0]["done"] == 247


def test_too_many_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When most units kill their worker it is not the units: one line says so."""
    monkeypatch.setattr("pipeline.attending.HOPELESS", 2)
    (tmp_path / WORK).mkdir()
    with pytest.raises(GristmillError, match="more than 2 documents of a"):
        attend(Work("work", work, tmp_path, "a", ["exit"] * 9, 60))


def test_one_process_that_died_is_wiser_the_next_time(tmp_path: Path) -> None:
    """With one worker the run dies with the document; run again, it finds the document and gives what two workers give."""
    code = "from tests.test_attending import *\nfrom pathlib import Path\nprint(run(Path('out'), {'a': words(exit=42), 'b': words()}, 1))"
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    start = [sys.executable, "-c", code]
    died = subprocess.run(start, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert died.returncode == 3
    again = subprocess.run(start, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert again.stdout.strip() == str(run(tmp_path / "other", {"a": words(exit=42), "b": words()}, 2)), again.stderr


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan", "inf"])
def test_watchdog_is_a_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that is no time is refused by name."""
    monkeypatch.setenv(WATCHDOG, given)
    with pytest.raises(GristmillError, match=WATCHDOG):
        watchdog_seconds()
