"""The stages on a real Dask cluster of two workers: the bytes of one process, also when a worker is killed and when a document kills workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stages.conftest import command, environment, run_module, tree, write_messy_folder

pytest.importorskip("distributed", reason="the extra dask is not installed")

OWN = '''
"""A filter of the user's own that does something to its process at one document."""
import ctypes, os, time
from dataclasses import dataclass
from typing import ClassVar
import pyarrow as pa
from pipeline.filters.verdicts import verdicts

DEEDS = {
    "EXIT": lambda: os._exit(7), "CRASH": lambda: ctypes.string_at(1), "MEMORY": lambda: bytearray(1 << 60),
    "SLEEP": lambda: time.sleep(10_000),
}

@dataclass(frozen=True)
class Deadly:
    """Ends its process at some documents."""
    version: ClassVar[int] = 1

    def judge(self, docs: pa.RecordBatch) -> pa.RecordBatch:
        for text in docs.column("text").to_pylist():
            for word, deed in DEEDS.items():
                if word in text:
                    deed()
        return verdicts(len(docs), [])
'''


class Cluster:
    """A scheduler and two workers with nannies, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._env = {**environment(), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
        self._folder = folder
        self._processes = [self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")]
        stream = self._processes[0].stderr
        assert stream is not None
        self.address = next(found[0] for line in stream if (found := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        for _ in range(2):
            self._processes.append(self._start("dask_worker", self.address, "--nthreads", "1", "--no-dashboard"))

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        keep = subprocess.PIPE if module == "dask_scheduler" else subprocess.DEVNULL
        start = command(f"distributed.cli.{module}", arguments)
        return subprocess.Popen(start, cwd=self._folder, env=self._env, stdout=subprocess.DEVNULL, stderr=keep, text=True)

    def worker_pids(self) -> dict[str, int]:
        """The process of each worker there is now (its nanny is another)."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=30)
            return dict(client.run(os.getpid))

    def close(self) -> None:
        """End all of them."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of this file; its workers stand in a folder of their own."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


def write_raw(folder: Path, num_files: int = 6, num_rows: int = 60) -> Path:
    """A messy folder and Parquet files of texts, with copies and near copies from file to file."""
    write_messy_folder(folder)
    for number in range(num_files):
        texts = [
            f"Note {row} of {'one' if row % 7 == 0 else 'many'}: the {' and the '.join(f'thing{(row * k) % 89}' for k in range(3, 40))} "
            f"were seen in week {row % 50 if row % 5 else number} by the keeper of garden {number if row % 3 else 'all'}."
            for row in range(num_rows)
        ]
        pq.write_table(pa.table({"text": texts}), folder / f"part{number}.parquet", compression="zstd")
    return folder


def balanced(folder: Path) -> None:
    """What was read is what was kept and what went, and what went is there to be seen."""
    manifest = json.loads((folder / "__manifest.json").read_text())
    for counts in manifest["counts"].values():
        gone = sum(counts["removed"].values()) + sum(counts["quarantined"].values()) + counts["merged"] + counts["superseded"]
        assert counts["read"] == counts["kept"] + gone
    kept, gone = ([id for path in place.glob("part-*.parquet") for id in pq.read_table(path)["id"].to_pylist()] for place in (folder, folder / "__removed"))
    assert len(set(kept) | set(gone)) == len(kept) + len(gone)
    assert len(kept) == sum(counts["kept"] for counts in manifest["counts"].values())


STAGES = {
    "raw-sets/a": ("pipeline.stages.extract", "raw"),
    "clean": ("pipeline.stages.filter", "raw-sets"),
    "tokens": ("pipeline.stages.tokenize", "clean", "--tokenizer", "train", "--length", "256"),
}
SMALL = ("--set", "own_tokenizer.vocab_size=400", "--set", "validation_share=0.1")


def run_all(folder: Path, *options: object, env: dict[str, str] | None = None) -> None:
    """extract, filter and tokenize one after the other."""
    for output, (module, source, *more) in STAGES.items():
        given = [source, output, *more, *(SMALL if output == "tokens" else ()), *options]
        done = run_module(module, *given, cwd=folder, env=env)
        assert done.returncode == 0, (module, done.stderr)
    balanced(folder / "clean")


@pytest.mark.slow
def test_three_stages_give_the_same_bytes_everywhere(cluster: Cluster, tmp_path: Path) -> None:
    """In this process, in two, and on the cluster, named by flag over a wrong variable: extract, filter and tokenize write the same bytes."""
    ways: dict[str, tuple[list[str], dict[str, str]]] = {
        "one": (["--workers", "1"], {}),
        "two": (["--workers", "2"], {}),
        "flag": (["--scheduler", cluster.address], {"DASK_SCHEDULER_ADDRESS": "tcp://127.0.0.1:9"}),
    }
    for way, (options, env) in ways.items():
        write_raw(tmp_path / way / "raw")
        run_all(tmp_path / way, *options, env=env)
    for output in STAGES:
        first = tree(tmp_path / "one" / output)
        assert len(first) > 2
        for way in ways:
            assert tree(tmp_path / way / output) == first, (way, output)


def test_the_variable_names_the_scheduler(tmp_path: Path) -> None:
    """Without the flag the address comes from DASK_SCHEDULER_ADDRESS: where nothing answers, one line, exit code 2."""
    (tmp_path / "raw.txt").write_text("A text about bread and gardens.")
    done = run_module("pipeline.stages.filter", "raw.txt", "out", cwd=tmp_path, env={"DASK_SCHEDULER_ADDRESS": "tcp://127.0.0.1:9"})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "tcp://127.0.0.1:9: no Dask scheduler answers" in done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with several datasets, so that there are several tasks, and what the filter stage makes of them in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_raw(folder / "raw", num_files=4, num_rows=300)
    for number in range(4):
        path = folder / "raw" / f"part{number}.parquet"
        assert run_module("pipeline.stages.extract", path, f"raw-sets/p{number}", "--workers", "1", cwd=folder).returncode == 0
    assert run_module("pipeline.stages.filter", "raw-sets", "clean", "--workers", "1", cwd=folder).returncode == 0
    return folder


def killed_when(cluster: Cluster, folder: Path, seen: Callable[[set[str]], bool], output: str) -> int:
    """Run the filter stage, and SIGKILL a worker as soon as the records in the work folder are as ``seen`` wants; how many were killed."""
    victims, killed = list(cluster.worker_pids().values()), 0
    start = command("pipeline.stages.filter", ["raw-sets", output, "--scheduler", cluster.address])
    run = subprocess.Popen(start, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while run.poll() is None:
        work = next(iter(folder.glob(f".{output}.partial-*/__work")), None)
        if not killed and work is not None and seen({path.name for path in work.iterdir()}):
            os.kill(victims[0], signal.SIGKILL)
            killed += 1
        time.sleep(0.005)
    assert run.stderr is not None
    assert run.returncode == 0, run.stderr.read()
    return killed


def after_judging(names: set[str]) -> bool:
    """Whether documents have been judged and something that is neither judging nor dropping has begun: the duplicates' steps."""
    steps = {name.partition("-")[0] for name in names if name.endswith((".json", ".mark"))}
    return "judge" in steps and bool(steps - {"judge", "drop", "survivors"})


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["judge", "duplicates", "drop"])
def test_a_killed_worker_changes_nothing(moment: str, cluster: Cluster, undisturbed: Path) -> None:
    """One of two workers is killed while documents are judged, while duplicates are looked for, or while they are dropped: the same bytes."""
    moments: dict[str, Callable[[set[str]], bool]] = {
        "judge": lambda names: any(name.startswith("judge-") for name in names),
        "duplicates": after_judging,
        "drop": lambda names: any(name.startswith("drop-") for name in names),
    }
    assert killed_when(cluster, undisturbed, moments[moment], moment) == 1
    balanced(undisturbed / moment)
    assert tree(undisturbed / moment) == tree(undisturbed / "clean")


DEADLY = {"EXIT": "ended its worker: exit code 7", "CRASH": "ended its worker: SIGSEGV", "MEMORY": "ended its worker: MemoryError"}
ENDLESS = {"SLEEP": "did not end: stopped by the watchdog"}


def write_deadly(folder: Path, words: dict[str, str]) -> None:
    """Two files of texts, one text in each hundred holding one of the words, and settings that name the filter above."""
    texts = [f"Text number {n} is about bread, gardens and the patience that both ask for." for n in range(300)]
    for number, word in enumerate(words):
        texts[50 + 97 * number] += f" {word}"
    (folder / "raw").mkdir(parents=True)
    for number in range(2):
        (folder / "raw" / f"{number}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[number::2]))
    (folder / "deadly.py").write_text(OWN)
    (folder / "filter.yaml").write_text("remove:\n  deadly: {class: 'deadly:Deadly'}\n")


def quarantined(folder: Path, words: dict[str, str], options: list[str], watchdog_seconds: int) -> dict[str, str]:
    """Filter such texts with that filter; the bytes of all files, once the quarantine was seen to hold those texts and no other."""
    write_deadly(folder, words)
    env = {"GRISTMILL_WATCHDOG_SECONDS": str(watchdog_seconds)}
    done = run_module("pipeline.stages.filter", "raw", "clean", "--settings", "filter.yaml", *options, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    balanced(folder / "clean")
    counts = json.loads((folder / "clean" / "__manifest.json").read_text())["counts"]["raw"]
    rows = pq.read_table(folder / "clean" / "__quarantine").to_pylist()
    assert {word: row["error"] for row in rows for word in words if word in row["raw"].decode()} == words
    assert (counts["read"], counts["kept"], len(rows)) == (300, 300 - len(words), len(words))
    return tree(folder / "clean")


@pytest.mark.slow
def test_documents_that_end_workers_are_quarantined(cluster: Cluster, tmp_path: Path) -> None:
    """Documents at which a user's own filter ends its process cost themselves and no other: in processes and on the cluster, same bytes."""
    here = quarantined(tmp_path / "processes", DEADLY, ["--workers", "2"], 600)
    assert quarantined(tmp_path / "cluster", DEADLY, ["--scheduler", cluster.address], 600) == here


@pytest.mark.slow
def test_a_document_that_hangs_a_worker_of_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """A document at which a user's own filter never returns is found by the watchdog and quarantined (for processes: tests/test_attending.py)."""
    quarantined(tmp_path, ENDLESS, ["--scheduler", cluster.address], 12)
