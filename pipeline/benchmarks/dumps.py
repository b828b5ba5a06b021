"""SQL dumps to Parquet, beside sqlparse, which only splits them, and databases, which load and export them."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from pipeline.benchmarks.costs import Cost, least, module, own_package, run
from pipeline.benchmarks.table import Compared, Result, Setup, Table
from pipeline.errors import GristmillError

MEGABYTES = 100
LARGE_MEGABYTES = 1000
"""The dump that shows whether memory grows."""
SPLIT_BYTES = 1_000_000
"""So much of a dump is given to sqlparse, which needs seconds for it."""
ROWS_A_STATEMENT = 5000
DATABASE = "gristmill_bench"

_SPLIT = "import sys, sqlparse; print(len(sqlparse.split(open(sys.argv[1], encoding='utf-8').read())))"
_IMPORT = "import sqlparse"


@dataclass(frozen=True)
class Dump:
    """A dump to measure with: what it is called, its file, and which server loads it."""

    name: str
    path: Path
    server: str

    @property
    def megabytes(self) -> float:
        """Its size in 10^6 bytes."""
        return self.path.stat().st_size / 1e6


def measure(setup: Setup) -> Result:
    """The benchmark: speed beside sqlparse and the databases, and the memory of a dump ten times as large."""
    texts = setup.corpus.texts
    made = [
        Dump("short rows, mysqldump", _written(setup.folder / "short.sql", _short_rows()), "mariadb"),
        Dump("texts, mysqldump", _written(setup.folder / "text.sql", _mysql_texts(texts)), "mariadb"),
        Dump("texts, pg_dump", _written(setup.folder / "copy.sql", _copied_texts(texts)), "postgres"),
    ]
    rows, notes, compared = [], list[str](), list[Compared]()
    for dump in made:
        ours = least([_tables(setup.folder, dump) for _ in range(setup.runs)])
        rows.append(_row(dump, "gristmill", ours, dump.megabytes))
        if setup.with_peers:
            rows.append(_row(dump, "sqlparse.split alone", *_split(setup, dump)))
            try:
                cost = least([_loaded(setup.folder, dump) for _ in range(setup.runs)])
                rows.append(_row(dump, f"{dump.server}: load and export", cost, dump.megabytes))
                compared.append(Compared(f"tables, {dump.name}", f"{dump.server}: load and export", ours, cost))
            except GristmillError as error:
                notes.append(f"{dump.server} was not measured: {error.where} {error.what}.")
    large = Dump("texts, mysqldump", _written(setup.folder / "large.sql", _mysql_texts(texts), LARGE_MEGABYTES), "mariadb")
    rows.append(_row(large, "gristmill", _tables(setup.folder, large), large.megabytes))
    about = [
        f"Each dump has {MEGABYTES} MB (one {LARGE_MEGABYTES}); short rows have about 20 bytes. `python -m pipeline tables` writes Parquet in one",
        f"process. sqlparse gets the first {SPLIT_BYTES / 1e6:g} MB of the dump, its import not counted. The databases' figures are CPU seconds of",
        "server and client: BENCH_MARIADB and BENCH_POSTGRES hold the command lines of clients (`mariadb`, `psql -h localhost -U me`) of",
        "servers on this machine.",
        *dict.fromkeys(notes),
    ]
    head = ("", "MB", "CPU s", "MB per CPU s", "peak MB")
    commands = ["python -m pipeline.benchmarks dumps", "python -m pipeline tables short.sql OUT"]
    return Result("SQL dumps", about, commands, [Table("Dumps", head, rows)], compared=compared)


def _row(dump: Dump, who: str, cost: Cost, megabytes: float) -> list[str]:
    seconds = max(cost.cpu_seconds, 1e-3)
    peak = f"{cost.peak_mb:,.0f}" if cost.peak_mb else ""
    return [f"{dump.name}: {who}", f"{megabytes:,.0f}", f"{seconds:.2f}", f"{megabytes / seconds:.2f}", peak]


def _tables(folder: Path, dump: Dump) -> Cost:
    return run(module("pipeline", "tables", dump.path, folder / "out", "--quiet"), folder, own_package())


def _split(setup: Setup, dump: Dump) -> tuple[Cost, float]:
    piece = setup.folder / "piece.sql"
    with dump.path.open("rb") as file:
        piece.write_bytes(file.read(SPLIT_BYTES).decode("utf-8", "ignore").encode())
    start = least([run([sys.executable, "-c", _IMPORT], setup.folder) for _ in range(setup.runs)])
    cost = least([run([sys.executable, "-c", _SPLIT, str(piece)], setup.folder) for _ in range(setup.runs)])
    return Cost(cost.cpu_seconds - start.cpu_seconds, cost.wall_seconds, 0), SPLIT_BYTES / 1e6


def _loaded(folder: Path, dump: Dump) -> Cost:
    """What the server and its client need to load the dump and to write its table out again."""
    variable = {"mariadb": "BENCH_MARIADB", "postgres": "BENCH_POSTGRES"}[dump.server]
    client = shlex.split(os.environ.get(variable, ""))
    if not client:
        raise GristmillError(variable, "is not set", "name the client's command line")
    if dump.server == "mariadb":
        create, drop = ([*client, "-e", f"{what} DATABASE {DATABASE}"] for what in ("CREATE", "DROP"))
        load, export = f"{shlex.join([*client, DATABASE])} < {dump.path}", [*client, "--quick", "--batch", DATABASE, "-e", "SELECT * FROM t"]
    else:
        create, drop = ([*client, "-q", "-c", f"{what} DATABASE {DATABASE}", "postgres"] for what in ("CREATE", "DROP"))
        load = shlex.join([*client, "-q", "-v", "ON_ERROR_STOP=1", "-d", DATABASE, "-f", str(dump.path)])
        export = [*client, "-d", DATABASE, "-c", "COPY t TO STDOUT"]
    run(create, folder)
    try:
        before, started = _server_seconds(dump.server), time.monotonic()
        costs = [run(["sh", "-c", load], folder), run(["sh", "-c", f"{shlex.join(export)} > exported.txt"], folder)]
        time.sleep(1)  # what the server still writes
        seconds = sum(cost.cpu_seconds for cost in costs) + _server_seconds(dump.server) - before
        return Cost(seconds, time.monotonic() - started, 0)
    finally:
        run(drop, folder)


def _server_seconds(name: str) -> float:
    """CPU seconds of all processes of a server of this machine and of those that they waited for (Linux)."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if name in head:
            ticks += sum(int(value) for value in rest.split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _written(path: Path, pieces: Iterator[str], megabytes: int = MEGABYTES) -> Path:
    """As many pieces of a dump as make ``megabytes``."""
    size = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for piece in pieces:
            size += file.write(piece)
            if size >= megabytes * 1e6:
                break
        if path.name == "copy.sql":
            file.write("\\.\n")
    return path


def _short_rows() -> Iterator[str]:
    yield "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\nCREATE TABLE `t` (`id` int NOT NULL, `n` varchar(20), `v` int, PRIMARY KEY (`id`));\n"
    names = cycle(["soup", "bread", "tea", "onions", "dough", "kettle"])
    first = 0
    while True:
        rows = ",".join(f"({number},'{next(names)}',{number * 7919 % 1000})" for number in range(first, first + ROWS_A_STATEMENT))
        yield f"INSERT INTO `t` VALUES {rows};\n"
        first += ROWS_A_STATEMENT


def _mysql_texts(texts: tuple[str, ...]) -> Iterator[str]:
    yield "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\n"
    yield "CREATE TABLE `t` (`id` int NOT NULL, `n` int, `body` longtext, PRIMARY KEY (`id`)) DEFAULT CHARSET=utf8mb4;\n"
    escapes = str.maketrans({"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1a": "\\Z"})
    for number, text in enumerate(cycle(texts)):
        yield f"INSERT INTO `t` VALUES ({number},{len(text)},'{text.translate(escapes)}');\n"


def _copied_texts(texts: tuple[str, ...]) -> Iterator[str]:
    yield "-- PostgreSQL database dump\nSET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n"
    yield "CREATE TABLE public.t (id integer NOT NULL, n integer, body text);\nCOPY public.t (id, n, body) FROM stdin;\n"
    escapes = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": ""})
    for number, text in enumerate(cycle(texts)):
        yield f"{number}\t{len(text)}\t{text.translate(escapes)}\n"
