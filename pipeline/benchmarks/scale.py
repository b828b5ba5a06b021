"""python -m pipeline.benchmarks.scale: what the filter stage takes as the text grows tenfold, and what that comes to for a billion documents.

Text is generated, with exact and near copies in it, written as a dataset, and filtered for duplicates in a process that is watched from outside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import command
from pipeline.benchmarks.costs import module, own_package
from pipeline.benchmarks.table import Table, machine, write
from pipeline.commits import Build, ShardWriter
from pipeline.dedup.find import BUCKET_ENTRIES
from pipeline.dedup.index import BLOCK_ROWS
from pipeline.dedup.near import NUM_BANDS
from pipeline.documents import SCHEMA, Document, locator, to_batch
from pipeline.errors import GristmillError
from pipeline.inspection.shown import table
from pipeline.remote import BLOCK_BYTES

WORDS = 60_000
MEAN_WORDS = 450
"""About 3 kB a document, as web text has."""

EXACT, NEAR = 0.06, 0.08
"""Shares of documents that are copies of one of the last few thousand, whole or with some words changed."""

BATCH, MEMORY = 2_000, 6_000
SHARD_MB = 64
SETTINGS = "edit: {}\nremove: {}\ndedup:\n  exact: {}\n  near: {threshold: 0.8}\n"
BILLION = 1_000_000_000


def texts(num_bytes: int, seed: int = 0) -> Iterator[list[str]]:
    """Lists of texts, until there are ``num_bytes`` of them; the same for a seed. Words follow Zipf's law, lengths a log-normal one."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    sizes = rng.integers(2, 11, WORDS)
    words = np.array(["".join(rng.choice(letters[: 6 + size * 2], size)) for size in sizes.tolist()], dtype=object)
    weights = np.cumsum(1 / np.arange(2, WORDS + 2))
    recent: list[np.ndarray] = []
    made = 0
    while made < num_bytes:
        batch = []
        lengths = np.clip(rng.lognormal(np.log(MEAN_WORDS) - 0.4, 0.9, BATCH), 20, 20_000).astype(int)
        drawn = np.split(np.searchsorted(weights, rng.random(lengths.sum()) * weights[-1]), np.cumsum(lengths)[:-1])
        for fate, ids in zip(rng.random(BATCH).tolist(), drawn, strict=True):
            if fate < EXACT + NEAR and recent:
                ids = recent[int(rng.integers(len(recent)))]
                if fate >= EXACT:
                    ids = np.where(rng.random(len(ids)) < 0.01, rng.integers(0, WORDS, len(ids)), ids)
            recent.append(ids)
            batch.append(" ".join(words[ids]))
        recent = recent[-MEMORY:]
        made += sum(map(len, batch))
        yield batch


def write_dataset(folder: Path, megabytes: int) -> int:
    """A dataset of generated documents, as the extraction would leave it; how many there are."""
    number, shards = 0, []
    with Build(folder, f"generated-{megabytes}") as build:
        if build.ready is not None:
            return build.ready.rows()
        source = texts(megabytes * 1_000_000)
        for part in range(max(1, -(-megabytes // SHARD_MB))):
            size = 0
            with ShardWriter(build.folder, "", f"{part:05d}", SCHEMA) as writer:
                while size < SHARD_MB * 1_000_000 and (batch := next(source, None)) is not None:
                    documents = [Document(locator("generated", row=number + i), text=text) for i, text in enumerate(batch)]
                    writer.write(to_batch("generated", documents))
                    number, size = number + len(batch), size + sum(map(len, batch))
            shards += writer.shards
        build.commit(shards, {"stage": "extract", "settings": {}, "inputs": [], "counts": {}}, {})
    return number


@dataclass
class Watched:
    """What was seen of a command and its children: seconds, largest process and all together in MB, the work folder's files by step."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    largest_mb: float = 0.0
    together_mb: float = 0.0
    step_bytes: Counter[str] = field(default_factory=Counter)
    step_files: Counter[str] = field(default_factory=Counter)


def watched(given: Sequence[str], folder: Path, work: str, every_seconds: float = 0.05) -> Watched:
    """Run a command in ``folder`` and look at it from outside; ``work`` is a pattern for its work folder. Raises GristmillError when it fails."""
    seen, ended = Watched(), threading.Event()
    started = time.monotonic()
    process = subprocess.Popen(given, cwd=folder, env={**os.environ, **own_package()}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def files() -> None:
        while not ended.wait(every_seconds * 10):
            _look_at_files(next(iter(folder.glob(work)), None), seen)

    looker = threading.Thread(target=files, daemon=True)
    looker.start()
    cpu: dict[int, float] = {}
    while process.poll() is None:
        _look_at_processes(process.pid, seen, cpu)
        time.sleep(every_seconds)
    ended.set()
    looker.join()
    seen.wall_seconds, seen.cpu_seconds = time.monotonic() - started, sum(cpu.values())
    if process.returncode:
        assert process.stderr is not None
        raise GristmillError(" ".join(given[2:4]), f"failed ({process.stderr.read().strip()[-300:]})", "run it by hand")
    return seen


def _look_at_processes(root: int, seen: Watched, cpu: dict[int, float]) -> None:
    """Memory of the process and all below it, from Linux' /proc: the peak of each (VmHWM), and what none shares with a file (RssAnon), summed."""
    together, todo = 0.0, [root]
    while todo:
        pid = todo.pop()
        with suppress(OSError, ValueError, LookupError):  # it has just ended
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
            seen.largest_mb = max(seen.largest_mb, int(lines["VmHWM"].split()[0]) * 1024 / 1e6)
            together += int(lines["RssAnon"].split()[0]) * 1024 / 1e6
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        seen.together_mb = max(seen.together_mb, together)


def _look_at_files(work: Path | None, seen: Watched) -> None:
    """The largest that each step's files have been together; the survivors are the documents themselves."""
    size: Counter[str] = Counter()
    number: Counter[str] = Counter()
    if work is None:
        return
    for path in work.glob("**/*"):
        step = path.name.partition("-")[0] if not path.name[0].isdigit() else path.name.partition(".")[2].partition(".")[0] or path.suffix
        if path.suffix in (".json", ".mark", ".tmp"):
            continue
        with suppress(OSError):
            if path.is_file():
                size[step] += path.stat().st_size
                number[step] += 1
    seen.step_bytes |= size
    seen.step_files |= number


def measure(folder: Path, megabytes: int, workers: int) -> tuple[int, Watched, dict[str, int]]:
    """Documents, what was seen of the filter stage over so much text, and its counts."""
    number = write_dataset(folder / f"text-{megabytes}", megabytes)
    (folder / "dedup.yaml").write_text(SETTINGS)
    output = f"clean-{megabytes}-{workers}"
    shutil.rmtree(folder / output, ignore_errors=True)
    given = module("pipeline.stages.filter", f"text-{megabytes}", output, "--settings", "dedup.yaml", "--workers", workers, "--quiet")
    seen = watched(given, folder, f".{output}.partial-*/__work")
    counts = json.loads((folder / output / "__manifest.json").read_text())["counts"]["generated"]
    return number, seen, {"kept": counts["kept"], "removed": sum(counts["removed"].values())}


def tables(rows: Sequence[tuple[int, int, int, Watched, dict[str, int]]]) -> list[Table]:
    """Peaks and rates, and the index a document."""
    head = ["text MB", "documents", "removed", "workers", "largest process MB", "all processes MB", "CPU s", "MB per CPU s", "CPU ms per document"]
    peaks, index = [], []
    steps = sorted({step for *_, seen, _ in rows for step in seen.step_bytes})
    for mb, workers, number, seen, counts in rows:
        memory = [f"{seen.largest_mb:,.0f}", f"{seen.together_mb:,.0f}"]
        rates = [f"{seen.cpu_seconds:,.0f}", f"{mb / seen.cpu_seconds:.1f}", f"{1000 * seen.cpu_seconds / number:.3f}"]
        peaks.append([f"{mb:,}", f"{number:,}", f"{counts['removed']:,}", str(workers), *memory, *rates])
        each = [f"{seen.step_bytes[step] / number:.1f} in {seen.step_files[step]}" for step in steps]
        index.append([f"{mb:,}", str(workers), *each, f"{(seen.step_bytes.total() - seen.step_bytes['survivors']) / number:.0f}"])
    return [
        Table("Peak memory and rate, deduplication alone", head, peaks),
        Table("Bytes a document on disk while it runs, and files, by step", ["text MB", "workers", *steps, "all but survivors"], index),
    ]


def billion(megabytes: int, number: int, seen: Watched) -> Table:
    """What the measured figures of one run come to for a billion documents of the same kind; the formulas stand in docs/scale.md."""
    index, survivors = seen.step_bytes["index"] / number, seen.step_bytes["survivors"] / number
    blocks, ranges = BILLION / BLOCK_ROWS, BILLION / BUCKET_ENTRIES
    text = megabytes / number  # MB a document, so TB in all / 1,000
    figures = {
        "text": f"{text * 1000:,.1f} TB",
        "core-hours, deduplication alone": f"{seen.cpu_seconds / number * BILLION / 3600:,.0f}",
        "index written, and read once more": f"{index:,.0f} GB",
        "documents written between the passes, and read again": f"{survivors / 1000:,.1f} TB",
        "pairs, twins and verdicts": f"{sum(v for k, v in seen.step_bytes.items() if k not in ('index', 'survivors')) / number:,.0f} GB",
        "tasks of the exchange": f"{ranges * (NUM_BANDS + 1) :,.0f}",
        "slices of the index that those read": f"{ranges * blocks * (NUM_BANDS + 1):,.0f}",
        "bytes of a slice": f"{8 * BLOCK_ROWS / ranges:,.0f}",
        "memory of the main process (24 bytes a document)": "24 GB",
        "requests to read the text once from a store, twice over": f"{2 * text * BILLION * 1e6 / BLOCK_BYTES:,.0f}",
    }
    return Table("A billion such documents, calculated", ["", "amount"], [[name, value] for name, value in figures.items()])


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline.benchmarks.scale", __doc__ or "")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[200, 2000], metavar="N", help="sizes of text (default: 200 2000)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="each size with so many workers (default: 1 2)")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where texts and results go, kept (default: a temporary one)")
    parser.add_argument("--output", type=Path, default=Path("docs/scale.md"), metavar="FILE", help="the page whose tables are written anew")
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="gristmill-scale-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for megabytes in arguments.megabytes:
            for workers in arguments.workers:
                rows.append((megabytes, workers, *measure(folder, megabytes, workers)))
                print(*table([tables(rows)[0].head, *tables(rows)[0].rows]), sep="\n", flush=True)
    lines = [f"{machine()}. pyarrow {pa.__version__}.", ""]
    last = min(rows, key=lambda row: (-row[0], row[1]))
    found = [*tables(rows), billion(last[0], last[2], last[3])]
    write(arguments.output, "scale", [*lines, *(line for one in found for line in one.lines())])
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
