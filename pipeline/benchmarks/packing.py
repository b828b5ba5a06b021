"""The tokenize stage, Parquet to packed Arrow rows; the planning alone; and a peer on the same texts."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.benchmarks import trl_packing
from pipeline.benchmarks.corpus import Corpus
from pipeline.benchmarks.costs import Cost, environment, least, module, own_package, run
from pipeline.benchmarks.table import Compared, Result, Setup, Table
from pipeline.benchmarks.variation import grown
from pipeline.datasets import open_dataset, read_batches
from pipeline.documents import SCHEMA
from pipeline.errors import GristmillError
from pipeline.models import load_tokenizer, write_tokenizer
from pipeline.packing.encode import Encoder
from pipeline.packing.plan import PACKERS
from pipeline.packing.settings import TokenizeSettings

LENGTH = 2048
TEXT_TIMES = 3
"""Varied copies make the corpus so many times as large: a stage that starts in a second is measured at work."""

PEER = ("datasets", "trl", "transformers", "tokenizers", "torch==2.13.0")
PEER_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
NUM_LENGTHS = 1_000_000
STRATEGIES = ("best_fit", "sequential", "wrapped")


def measure(setup: Setup) -> Result:
    """The benchmark: the whole stage and the peer, encoding and planning alone, and how full the rows are."""
    corpus = grown(setup.corpus, int(TEXT_TIMES * setup.corpus.megabytes * 1e6))
    folder = setup.folder
    corpus.write(folder / "in" / "texts.parquet")
    write_tokenizer(folder / "tokenizer")
    run(module("pipeline.stages.extract", "in", "raw", "--quiet"), folder, own_package())
    stage = _stage(folder, setup.runs)
    start = least([run(module("pipeline.stages.tokenize", "--help"), folder, own_package()) for _ in range(setup.runs)])
    costs = [("tokenize stage", stage, start.cpu_seconds)]
    about = [
        f"Each in a process of its own, one worker, clean Parquet to packed Arrow rows of {LENGTH:,} tokens with SmolLM2's tokenizer.",
        f"The texts are {corpus.about}: in each copy every word gives way to another of its length and frequency, and rare words are spelled anew.",
        "`work` leaves out what each needs to start and import. The stage splits long documents, so all tokens are in its rows; it also hashes",
        "its shards, writes labels and positions, and compares a sample of its ids with those of the tokenizers library.",
    ]
    compared = []
    if setup.with_peers:
        try:
            peers = [_peer(setup, number) for number in range(setup.runs)]
            cost, said = min(peers, key=lambda peer: peer[0].cpu_seconds)
            costs.append(("datasets.map, pack_dataset(bfd)", cost, said["start"]))
            compared = [Compared("tokenize stage", "datasets.map, TRL's pack_dataset(bfd)", stage, cost)]
            about.append(f"TRL's bfd cuts long documents off: {said['tokens']:,} tokens are in its rows, {said['utilisation']:.3%} of their room.")
        except GristmillError as error:
            about.append(f"TRL was not measured: {error.where} {error.what}.")
    lengths = _encode(folder)
    tables = [_costs_table(costs, corpus.megabytes), _encode_table(lengths, corpus), _planning_table(lengths.sizes)]
    commands = [
        "python -m pipeline.benchmarks tokenize",
        f"python -m pipeline.stages.tokenize raw tokens --tokenizer tokenizer --length {LENGTH} --workers 1",
    ]
    return Result("Tokenize stage", about, commands, tables, compared=compared)


def _stage(folder: Path, runs: int) -> Cost:
    how = ("--tokenizer", "tokenizer", "--length", LENGTH, "--workers", 1, "--quiet")
    return least([run(module("pipeline.stages.tokenize", "raw", f"tokens-{n}", *how), folder, own_package()) for n in range(runs)])


def _peer(setup: Setup, number: int) -> tuple[Cost, dict[str, float]]:
    """What the peer costs, and what it says itself: CPU seconds to start, rows, tokens, utilisation."""
    python = environment(setup.environments / "trl", PEER)
    script = Path(trl_packing.__file__)
    home = {"HF_HOME": str(setup.folder / "huggingface")}
    cost = run([str(python), str(script), "in", "tokenizer", f"trl-{number}", str(LENGTH)], setup.folder, {**PEER_ENVIRONMENT, **home})
    said: dict[str, float] = json.loads((setup.folder / "log.txt").read_text().strip().splitlines()[-1])
    return cost, said


def _costs_table(costs: Sequence[tuple[str, Cost, float]], size: float) -> Table:
    _, base, base_start = costs[0]
    rows = [
        [
            name,
            f"{cost.cpu_seconds:.2f}",
            f"{cost.cpu_seconds - start:.2f}",
            f"{cost.wall_seconds:.2f}",
            f"{size / cost.cpu_seconds:.2f}",
            f"{cost.cpu_seconds / base.cpu_seconds:.1f}",
            f"{(cost.cpu_seconds - start) / (base.cpu_seconds - base_start):.1f}",
            f"{cost.peak_mb:,.0f}",
        ]
        for name, cost, start in costs
    ]
    head = ("", "CPU s", "work CPU s", "wall s", "MB per CPU s", "CPU to the first row's", "work to the first row's", "peak MB")
    return Table(f"{size:.1f} MB of text", head, rows)


class _Encoded:
    """The lengths of all sequences, and the CPU seconds that encoding took."""

    def __init__(self, sizes: np.ndarray, seconds: float) -> None:
        self.sizes, self.seconds = sizes, seconds


def _encode(folder: Path) -> _Encoded:
    """Encode the documents in this process; reading them and building the encoder do not count."""
    encoder = Encoder(load_tokenizer(str(folder / "tokenizer")), LENGTH, TokenizeSettings(), fast=True)
    seconds, sizes = 0.0, [np.empty(0, np.int32)]
    for path in open_dataset(folder / "raw").files():
        for batch in read_batches(path, SCHEMA.names, max_rows=512):
            started = time.process_time()
            encoded = encoder.encode(batch)
            seconds += time.process_time() - started
            sizes.append(np.diff(encoded.sequences.column("input_ids").offsets.to_numpy()))
    return _Encoded(np.concatenate(sizes), seconds)


def _encode_table(encoded: _Encoded, corpus: Corpus) -> Table:
    tokens = int(encoded.sizes.sum())
    seconds = max(encoded.seconds, 1e-6)
    row = [f"{tokens:,}", f"{len(encoded.sizes):,}", f"{seconds:.2f}", f"{corpus.megabytes / seconds:.1f}", f"{tokens / seconds / 1e6:.2f}"]
    return Table("Encoding alone, in this process", ("tokens", "sequences", "CPU s", "MB per CPU s", "million tokens per CPU s"), [row])


def lognormal_lengths(count: int = NUM_LENGTHS) -> np.ndarray:
    """Lengths as documents have them: lognormal with a median of 400 tokens and a sigma of 1, from 2 to LENGTH tokens (int32)."""
    drawn = np.random.default_rng(0).lognormal(np.log(400), 1.0, count)
    return np.clip(drawn, 2, LENGTH).astype(np.int32)


def _planning_table(sizes: np.ndarray) -> Table:
    rows = []
    for name in STRATEGIES:
        for what, lengths in ((f"{NUM_LENGTHS / 1e6:g} million lognormal lengths", lognormal_lengths()), ("the texts' sequences", sizes)):
            started = time.process_time()
            plan = PACKERS[name](lengths, LENGTH)
            seconds = time.process_time() - started
            total, cuts = int(lengths.sum()), len(plan.sequences) - len(lengths)
            used, most = (total / (max(1, num_rows) * LENGTH) for num_rows in (len(plan), -(-total // LENGTH)))
            each = f"{1e6 * seconds / max(1, len(lengths)):.3f}"
            rows.append([f"{name}, {what}", each, f"{len(plan):,}", f"{used:.4%}", f"{most:.4%}", f"{cuts:,}"])
    return Table("Planning alone", ("", "CPU us a sequence", "rows", "room used", "room used at best", "cuts within sequences"), rows)
