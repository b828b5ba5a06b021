"""Whether ``suspects`` finds rows that were spoiled on purpose: 5% of a set, half with another row's answer, half gibberish.

The rules and limits of ``pipeline.inspection.outliers`` were chosen on the instructions of the sample; the docstrings only confirm.
"""

from __future__ import annotations

import ast
import random
import sysconfig
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from pipeline import bench
from pipeline.benchmarks.costs import module, own_package, run
from pipeline.benchmarks.table import Result, Setup, Table
from pipeline.commits import Build, ShardWriter
from pipeline.datasets import open_dataset
from pipeline.documents import SCHEMA, Document, Message, record_id, to_batch
from pipeline.inspection.outliers import Outlier, rank
from pipeline.stages.tokenize import DEFAULT_RECIPE
from pipeline.training.document_losses import FILE

SHARE = 0.05
MAX_PAIRS = 150
SWAPPED, LETTERS, JUMBLED = "swapped", "letters", "jumbled"
GIBBERISH = (LETTERS, JUMBLED)
KINDS = {"both": (SWAPPED, "gibberish"), "swapped": (SWAPPED,), "gibberish": ("gibberish",)}
ANSWER_CHARS, CODE_CHARS = (40, 600), (60, 700)
"""Docstrings and functions of such lengths are taken, so that no conversation is longer than a row."""


@dataclass(frozen=True)
class Pair:
    """A question and its answer; ``spoiled`` says how it was spoiled, if it was."""

    question: str
    answer: str
    spoiled: str | None = None


def spoil(pairs: Sequence[Pair], kinds: Sequence[str], seed: int) -> list[Pair]:
    """``SHARE`` of the pairs spoiled, in equal parts for each of ``kinds``.

    Answers are swapped among those chosen for it; gibberish is by turns random letters in place of every word and the words in random order.
    """
    chance = random.Random(seed)
    chosen = chance.sample(range(len(pairs)), max(2 * len(kinds), round(SHARE * len(pairs))))
    half = len(chosen) // len(kinds)
    swapped = chosen[:half] if SWAPPED in kinds else []
    spoiled = list(pairs)
    for at, other in zip(swapped, [*swapped[1:], *swapped[:1]], strict=True):
        spoiled[at] = Pair(pairs[at].question, pairs[other].answer, SWAPPED)
    for number, at in enumerate(chosen[len(swapped) :]):
        words = pairs[at].answer.split()
        if number % 2:
            chance.shuffle(words)
        else:
            words = ["".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in word) for word in words]
        spoiled[at] = Pair(pairs[at].question, " ".join(words), JUMBLED if number % 2 else LETTERS)
    return spoiled


def instructions(folder: Path) -> list[Pair]:
    """The questions and answers of the sample that comes along, cleaned."""
    sources = bench.defaults() / "data" / "sources" / "instructions.csv"
    run(module("pipeline.stages.filter", sources.resolve(), "instructions", "--quiet"), folder, own_package())
    rows = [row for path in open_dataset(folder / "instructions").files() for row in pq.read_table(path, columns=["messages"]).to_pylist()]
    return [Pair(row["messages"][0]["content"], row["messages"][-1]["content"]) for row in rows]


def docstrings(folder: Path) -> list[Pair]:
    """Functions of the installed Python's library and what their docstrings say they do."""
    found: dict[str, Pair] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if not {"test", "tests", "site-packages"} & set(path.parts):
            for pair in _functions(path):
                found.setdefault(pair.answer, pair)
    pairs = list(found.values())
    random.Random(0).shuffle(pairs)
    return pairs[:MAX_PAIRS]


def _functions(path: Path) -> list[Pair]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return []
    pairs = []
    for node in ast.walk(tree):
        answer = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if isinstance(node, ast.FunctionDef) and answer and len(node.body) > 1:
            node.body = node.body[1:]
            code = ast.unparse(node)
            if ANSWER_CHARS[0] <= len(answer) <= ANSWER_CHARS[1] and CODE_CHARS[0] <= len(code) <= CODE_CHARS[1]:
                pairs.append(Pair(f"What does this Python function do?\n\n{code}", answer))
    return pairs


def trained(pairs: Sequence[Pair], folder: Path) -> Path:
    """Tokenize the pairs and train the default recipe on them in ``folder``; gives ``documents.parquet`` of all rows."""
    documents = [Document(str(at), messages=(Message("user", pair.question), Message("assistant", pair.answer))) for at, pair in enumerate(pairs)]
    with Build(folder / "clean", "0" * 64) as build, ShardWriter(build.folder, "", "pairs", SCHEMA) as writer:
        writer.write(to_batch("pairs", documents))
        writer.close()
        build.commit(writer.shards, {"stage": "filter", "settings": {}, "inputs": [], "counts": {}}, {})
    recipe = bench.find(DEFAULT_RECIPE).resolve()
    model = bench.find("data/models/smollm2-135m-instruct/config.json").resolve().parent
    with_model = folder / "recipe.yaml"
    with_model.write_text(recipe.read_text(encoding="utf-8").replace("data/models/smollm2-135m-instruct", str(model)), encoding="utf-8")
    shares = ("--set", "validation_share=0.05", "--set", "test_share=0")
    run(module("pipeline.stages.tokenize", "clean", "tokens", "--recipe", with_model.name, *shares, "--quiet"), folder, own_package())
    less = ("--set", "eval_max_rows=2", "--set", "eval_steps=null", "--set", "save_steps=null", "--set", "document_losses_max_rows=null")
    run(module("pipeline.stages.train", "tokens", "run", "--recipe", with_model.name, *less, "--quiet"), folder, own_package())
    return folder / "run" / FILE


def ranked(pairs: Sequence[Pair], documents: Path) -> list[tuple[Outlier, str | None]]:
    """The outliers of all documents, worst first, each with how it was spoiled."""
    spoiled = {record_id("pairs", str(at)): pair.spoiled for at, pair in enumerate(pairs)}
    return [(outlier, spoiled[outlier.id]) for outlier in rank(pq.read_table(documents))]


@dataclass(frozen=True)
class Score:
    """Of the strangest ``SHARE`` of the documents the share that was spoiled, and of each kind the share that is among them."""

    documents: int
    precision: float
    swapped: float | None
    gibberish: float | None


def score(ranked: Sequence[tuple[Outlier, str | None]]) -> Score:
    """What the top of a ranking holds."""
    top = [kind for _, kind in ranked[: max(1, round(SHARE * len(ranked)))]]
    everything = [kind for _, kind in ranked]

    def share_of(kinds: Sequence[str]) -> float | None:
        there = sum(kind in kinds for kind in everything)
        return sum(kind in kinds for kind in top) / there if there else None

    return Score(len(ranked), sum(kind is not None for kind in top) / len(top), share_of([SWAPPED]), share_of(GIBBERISH))


SETS: dict[str, Callable[[Path], list[Pair]]] = {
    "instructions of the sample": instructions,
    "functions of Python's library and their docstrings": docstrings,
}


def measure(setup: Setup) -> Result:
    """The benchmark: for each set as many seeds as there are runs; each trains the default recipe on a spoiled copy."""
    rows = []
    for number, (name, pairs_of) in enumerate(SETS.items()):
        (setup.folder / f"set-{number}").mkdir()
        pairs = pairs_of(setup.folder / f"set-{number}")
        for seed in range(setup.runs):
            folder = setup.folder / f"set-{number}" / f"seed-{seed}"
            folder.mkdir()
            spoiled = spoil(pairs, KINDS["both"], seed)
            found = score(ranked(spoiled, trained(spoiled, folder)))
            shares = (found.precision, found.swapped, found.gibberish)
            rows.append([f"{name}, seed {seed}", f"{found.documents:,}", *("" if share is None else f"{share:.0%}" for share in shares)])
    head = ("", "documents", "spoiled among the top 5%", "swapped answers found", "gibberish found")
    about = [
        f"{SHARE:.0%} of the documents are spoiled by a seed: half get the answer of another one, half gibberish (random letters, jumbled words).",
        "The default recipe trains on them, and `suspects` ranks them by its losses.",
    ]
    return Result("Suspects", about, ["python -m pipeline.benchmarks suspects"], [Table("Spoiled rows found", head, rows)], from_corpus=False)
