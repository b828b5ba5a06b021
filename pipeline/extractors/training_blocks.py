"""python -m pipeline.extractors.training_blocks FOLDER... OUTPUT: trains the model of main text (``block_model.npz``).

A FOLDER holds ``gold.jsonl`` (rows ``id, html_path, url, text``) and the pages it names. The model in this repository was trained on 1,355
pages with gold text: WCXB's development split (CC-BY-4.0, M. Foley 2026; the 1,149 pages not used for judging), scrapinghub's
article-extraction-benchmark (MIT), magic-html's benchmark (Apache-2.0) and Readability's test pages (Apache-2.0). Neither pages nor texts
are in the model: only how often single words of three sites or more, and ranges of numbers, went with main text. Seed 1, one thread;
LightGBM is needed to train (``pip install lightgbm``), not to use it. ``--folds 5`` prints the word F1 on pages of sites left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline import decoding
from pipeline.extractors import main_content
from pipeline.extractors.block_features import Lexicon, features, name_words, text_words
from pipeline.extractors.block_model import LEAVES, Model, Trees, save
from pipeline.extractors.block_walk import TAGS
from pipeline.extractors.blocks import Blocks, parse, read_blocks, remove_unseen
from pipeline.extractors.html_metadata import Head, read_head

SEED = 1
FOLDS = 5
GRAM = 5
MIN_SITES = 3
SMOOTHING = 2.0
MAX_BLOCKS = 160
"""Of longer pages so many blocks are drawn."""
NUM_TREES = 128
PARAMETERS = {
    "objective": "binary",
    "num_leaves": LEAVES,
    "learning_rate": 0.12,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.3,
    "lambda_l2": 5.0,
    "bagging_fraction": 0.6,
    "bagging_freq": 1,
    "max_bin": 63,
    "num_threads": 1,
    "seed": SEED,
    "deterministic": True,
    "verbose": -1,
}

_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+")


@dataclass
class Page:
    """A page, which of its blocks are main text (share of their words that the gold text has, in its order), and where it belongs."""

    name: str
    dataset: str
    site: str
    blocks: Blocks
    head: Head
    share: NDArray[np.float64]
    words: NDArray[np.float64]
    gold: Counter[str]
    block_words: list[list[str]]
    rows: NDArray[np.float32] | None = None

    @property
    def fold(self) -> int:
        """The fold of its site."""
        return int(hashlib.sha256(self.site.encode()).hexdigest(), 16) % FOLDS

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights of its blocks: the root of their words, so that a page counts with the root of its length."""
        roots = np.sqrt(self.words + 1)
        weights: NDArray[np.float64] = roots / np.sqrt(roots.sum())
        return weights


def read_pages(folder: Path) -> Iterator[Page]:
    """The pages of a folder that have text, blocks and gold text."""
    for line in (folder / "gold.jsonl").read_text(encoding="utf-8").split("\n"):
        if not line:
            continue
        row = json.loads(line)
        data = (folder / row["html_path"]).read_bytes()
        tree = parse(decoding.strip_controls(decoding.decode(data, decoding.html_charset(data)).text))
        head = read_head(tree)
        remove_unseen(tree)
        blocks = read_blocks(tree.html or "")
        gold = words(row["text"])
        if not gold or not blocks.plain:
            continue
        block_words = [words(text) for text in blocks.plain]
        lines = {tuple(words(text)) for text in row["text"].split("\n")}
        share = np.array(_shares(block_words, gold, lines))
        yield Page(
            row["id"], row.get("dataset", "?"), _site(row["url"]) or row["id"], blocks, head, share,
            main_content.num_words(blocks), Counter(gold), block_words,
        )  # fmt: skip


def words(text: str) -> list[str]:
    """The words that count: runs of letters and digits in lower case; Chinese, Japanese and Korean characters one by one."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def _site(url: str) -> str:
    return ".".join((urlsplit(url).hostname or "").split(".")[-2:])


def _shares(block_words: Sequence[Sequence[str]], gold: Sequence[str], lines: set[tuple[str, ...]]) -> list[float]:
    """Share of each block's words inside runs of ``GRAM`` words that gold text has too; 1 for a whole line of it."""
    known = {tuple(gold[at : at + GRAM]) for at in range(len(gold) - GRAM + 1)}
    stream = [word for some in block_words for word in some]
    covered = np.zeros(len(stream) + 1)
    for at in range(len(stream) - GRAM + 1):
        if tuple(stream[at : at + GRAM]) in known:
            covered[at : at + GRAM] = 1
    ends = np.cumsum([len(some) for some in block_words])
    shares = []
    for some, end in zip(block_words, ends, strict=True):
        share = float(covered[end - len(some) : end].mean()) if some else 0.0
        shares.append(1.0 if share < 0.5 and tuple(some) in lines else share)
    return shares


def lexicon(pages: Sequence[Page]) -> Lexicon:
    """Log-odds of words, each page counting once and a word of fewer than ``MIN_SITES`` sites not at all."""
    return Lexicon(*(_odds([(page.site, count(page)) for page in pages]) for count in (_count_names, _count_words, _count_tags)))


Counts = dict[str, list[float]]  # weight in main text, weight in all


def _count_names(page: Page) -> Counts:
    blocks, counts = page.blocks, _counts()
    roots = np.sqrt(page.words)
    all_sums, main_sums = (np.concatenate([[0.0], np.cumsum(part)]) for part in (roots, roots * (page.share >= 0.5)))
    for node in range(1, len(blocks.node_tags)):
        first, last = blocks.node_first[node], blocks.node_last[node]
        for word in set(name_words(blocks.node_attributes(node))):
            counts[word][0] += main_sums[last] - main_sums[first]
            counts[word][1] += all_sums[last] - all_sums[first]
    return counts


def _count_words(page: Page) -> Counts:
    counts = _counts()
    for text, share in zip(page.blocks.plain, page.share, strict=True):
        for word in set(text_words(text)):
            counts[word][0] += share >= 0.5
            counts[word][1] += 1
    return counts


def _count_tags(page: Page) -> Counts:
    counts = _counts()
    for node, share, weight in zip(page.blocks.nodes, page.share, np.sqrt(page.words), strict=True):
        entry = counts[TAGS[page.blocks.node_tags[node]]]
        entry[0] += weight * (share >= 0.5)
        entry[1] += weight
    return counts


def _counts() -> Counts:
    return defaultdict(lambda: [0.0, 0.0])


def _odds(counted: Sequence[tuple[str, Counts]]) -> dict[str, float]:
    sites: dict[str, set[str]] = defaultdict(set)
    inside: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for site, counts in counted:
        for word, (main, whole) in counts.items():
            if whole > 0:
                sites[word].add(site)
                inside[word] += main / whole  # type: ignore[assignment]
                outside[word] += 1 - main / whole  # type: ignore[assignment]
    base = inside.total() / (inside.total() + outside.total())
    prior = np.log(base / (1 - base))
    return {
        word: float(np.log((inside[word] + SMOOTHING * base) / (outside[word] + SMOOTHING * (1 - base))) - prior)
        for word in sorted(sites)
        if len(sites[word]) >= MIN_SITES
    }


def add_rows(pages: Sequence[Page]) -> None:
    """Compute the features of all pages, each with word lists from the other folds."""
    for fold in sorted({page.fold for page in pages}):
        known = lexicon([page for page in pages if page.fold != fold])
        for page in pages:
            if page.fold == fold:
                page.rows = features(page.blocks, known, page.head).T


def fit(pages: Sequence[Page]) -> Any:
    """A LightGBM booster that tells main text."""
    lightgbm = import_module("lightgbm")
    draw = np.random.default_rng(SEED)
    rows, labels, weights = [], [], []
    for page in pages:
        assert page.rows is not None
        count = len(page.words)
        drawn = np.sort(draw.choice(count, MAX_BLOCKS, replace=False)) if count > MAX_BLOCKS else np.arange(count)
        rows.append(page.rows[drawn])
        labels.append(page.share[drawn] >= 0.5)
        weights.append(page.weights[drawn] * count / len(drawn))
    weight = np.concatenate(weights)
    data = lightgbm.Dataset(np.vstack(rows), np.concatenate(labels).astype(float), weight=weight / weight.mean())
    return lightgbm.train(PARAMETERS, data, NUM_TREES)


def to_trees(booster: Any) -> Trees:
    """The booster's trees in the form that ``Trees.odds`` evaluates."""
    dumped = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    splits: list[list[tuple[int, float, int]]] = []
    values = np.zeros((len(dumped), LEAVES), np.float32)
    for number, root in enumerate(dumped):
        leaves: list[float] = []
        found: list[tuple[int, float, int]] = []
        _walk(root, leaves, found)
        values[number, : len(leaves)] = leaves
        splits.append(found)
    depth = max(map(len, splits))
    shape = (depth, len(splits))
    feature, threshold, mask = np.zeros(shape, np.int64), np.full(shape, np.inf, np.float32), np.full(shape, 0xFFFF, np.uint16)
    for number, tree in enumerate(splits):
        for at, (column, bound, closed) in enumerate(tree):
            feature[at, number], threshold[at, number], mask[at, number] = column, bound, closed
    return Trees(feature, threshold, mask, values)


def _walk(node: Any, leaves: list[float], splits: list[tuple[int, float, int]]) -> None:
    if "leaf_value" in node:
        leaves.append(node["leaf_value"])
        return
    start = len(leaves)
    place = len(splits)
    splits.append((0, 0.0, 0))
    _walk(node["left_child"], leaves, splits)
    left = sum(1 << leaf for leaf in range(start, len(leaves)))
    splits[place] = (node["split_feature"], node["threshold"], 0xFFFF & ~left)
    _walk(node["right_child"], leaves, splits)


def cross_validate(pages: Sequence[Page]) -> dict[str, float]:
    """Mean word F1 of each dataset, and of ``all``, of models that never saw the page's site (``add_rows`` first)."""
    scores: dict[str, list[float]] = defaultdict(list)
    for fold in range(FOLDS):
        booster = fit([page for page in pages if page.fold != fold])
        for page in pages:
            if page.fold == fold:
                chosen = main_content.select(page.blocks, booster.predict(page.rows, num_threads=1) ** main_content.CAUTION, page.words)
                score = _f1(Counter(word for block in chosen for word in page.block_words[block]), page.gold)
                scores[page.dataset].append(score)
                scores["all"].append(score)
    return {name: float(np.mean(values)) for name, values in sorted(scores.items())} | {"below .5": float(np.mean(np.array(scores["all"]) < 0.5))}


def _f1(found: Counter[str], gold: Counter[str]) -> float:
    return 2 * (found & gold).total() / max(1, found.total() + gold.total())


def main(given: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    parser.add_argument("--folds", action="store_true", help="print cross-validated scores first")
    arguments = parser.parse_args(given)
    pages = [page for folder in arguments.folders for page in read_pages(folder)]
    add_rows(pages)
    if arguments.folds:
        for name, value in cross_validate(pages).items():
            print(f"{name:<16}{value:.4f}")
    booster = fit(pages)
    datasets = ", ".join(f"{count} {name}" for name, count in sorted(Counter(page.dataset for page in pages).items()))
    save(Model(lexicon(pages), to_trees(booster)), arguments.output, f"pages: {datasets}; seed {SEED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
