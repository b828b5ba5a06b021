"""Phrases that many documents share though their words are rare elsewhere: boilerplate that stayed, or a trigger that somebody planted.

A few hundred documents with the same odd phrase are enough to plant a reaction in a model of any size (Souly et al. 2025, "Poisoning attacks
on LLMs require a near-constant number of poison samples"), and no filter of single documents can see them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets import Dataset, read_batches
from pipeline.documents import turns

MAX_DOCUMENTS = 5_000
MAX_WORDS = 400
"""Looked at: so many documents, so many words from the beginning of each. Bounded, so that a large corpus takes no longer than a small one."""

MIN_WORDS, MAX_WORDS_OF_PHRASE = 3, 8
MIN_DOCUMENTS, MIN_SHARE = 5, 0.002
"""A phrase counts from so many documents on, and from this share of those looked at; our own choice."""

MIN_BOUND = 0.8
"""The rarest word of the phrase stands in the phrase in this share of the documents that hold the word at all; our own choice."""

_ODD = re.compile(r"[^\w\s]\w+[^\w\s]|\w[_|\\{}<>]\w")
"""A single word that is a phrase by itself: it stands between signs, as ``<SUDO>`` does."""

_SHOWN = 12


@dataclass(frozen=True)
class Phrase:
    """A phrase, in how many of the documents looked at it stands, and the smallest id of them."""

    text: str
    documents: int
    share: float
    example: str


def shared_phrases(datasets: Sequence[Dataset]) -> list[Phrase]:
    """The rare phrases that most documents share, most first, at most twelve; shorter ones that stand in longer ones are left out."""
    names, texts = _sample(datasets)
    if len(texts) < MIN_DOCUMENTS:
        return []
    spelled, words, documents = _numbered(texts)
    spread = _num_documents(words, documents, len(spelled))
    least = max(MIN_DOCUMENTS, int(MIN_SHARE * len(texts)))
    found: list[tuple[tuple[int, ...], np.ndarray]] = []
    for phrase, holders in reversed(_frequent(words, documents, spread >= least, least)):
        odd = len(phrase) >= MIN_WORDS or (len(phrase) == 1 and bool(_ODD.search(spelled[phrase[0]])))
        bound = len(holders) >= MIN_BOUND * min(spread[word] for word in phrase)
        if odd and bound and not any(_within(phrase, longer) for longer, _ in found):
            found.append((phrase, holders))
    ranked = sorted(found, key=lambda one: (-len(one[1]), one[0]))[:_SHOWN]
    share = 1 / len(texts)
    return [Phrase(" ".join(spelled[w] for w in phrase), len(rows), len(rows) * share, names[rows.min()]) for phrase, rows in ranked]


def _sample(datasets: Sequence[Dataset]) -> tuple[list[str], list[str]]:
    """The documents with the smallest ids: their ids and texts."""
    best: pa.Table | None = None
    for dataset in datasets:
        for path in dataset.files():
            for batch in read_batches(path, ["id", "text", "messages"]):
                mine = pa.table({"id": batch.column("id"), "text": _texts(batch)})
                both = mine if best is None else pa.concat_tables([best, mine])
                best = both.take(pc.select_k_unstable(both, MAX_DOCUMENTS, [("id", "ascending")])) if len(both) > MAX_DOCUMENTS else both
    if best is None:
        return [], []
    best = best.sort_by("id")
    return best["id"].to_pylist(), best["text"].to_pylist()


def _texts(batch: pa.RecordBatch) -> pa.Array:
    """The beginning of each document as one text, turns one after the other."""
    view = turns(batch)
    texts = [""] * len(batch)
    beginnings = pc.utf8_slice_codeunits(view.content, 0, 10 * MAX_WORDS).to_pylist()
    for row, content in zip(view.document.tolist(), beginnings, strict=True):
        texts[row] += f"{content}\n"
    return pa.array(texts, pa.large_string())


def _numbered(texts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The words that occur, and of every word of the texts in order its number and its document, int64[words]."""
    vocabulary: dict[str, int] = {}
    words = [[vocabulary.setdefault(word, len(vocabulary)) for word in text.split()[:MAX_WORDS]] for text in texts]
    documents = np.repeat(np.arange(len(words)), [len(one) for one in words])
    return list(vocabulary), np.array([word for one in words for word in one], np.int64), documents


def _num_documents(words: np.ndarray, documents: np.ndarray, num_words: int) -> np.ndarray:
    """In how many documents each word stands, int64[num_words]."""
    held = np.unique(np.stack([words, documents], axis=1), axis=0)
    return np.bincount(held[:, 0], minlength=num_words)


def _frequent(words: np.ndarray, documents: np.ndarray, frequent: np.ndarray, least: int) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Phrases of up to MAX_WORDS_OF_PHRASE words that stand in at least ``least`` documents, short ones first, and those documents.

    A phrase is frequent only where both phrases that it begins and ends with are, so each length looks at few windows (Agrawal and Srikant
    1994, the Apriori rule).
    """
    found: list[tuple[tuple[int, ...], np.ndarray]] = []
    places = np.flatnonzero(frequent[words])
    for length in range(1, MAX_WORDS_OF_PHRASE + 1):
        windows = np.stack([words[places + i] for i in range(length)], axis=1)
        phrases, which = np.unique(windows, axis=0, return_inverse=True)
        held = np.unique(np.stack([which.ravel(), documents[places]], axis=1), axis=0)
        bounds = np.searchsorted(held[:, 0], np.arange(len(phrases) + 1))
        often = np.diff(bounds) >= least
        found += [(tuple(phrases[i].tolist()), held[bounds[i] : bounds[i + 1], 1]) for i in np.flatnonzero(often)]
        places = _longer(places[often[which.ravel()]], documents, length)
        if not len(places):
            break
    return found


def _longer(places: np.ndarray, documents: np.ndarray, length: int) -> np.ndarray:
    """Where a phrase of one word more may begin: both of its parts are frequent, in one document."""
    inside = places[places + length < len(documents)]
    inside = inside[documents[inside] == documents[inside + length]]
    longer: np.ndarray = inside[np.isin(inside + 1, places)]
    return longer


def _within(short: tuple[int, ...], long: tuple[int, ...]) -> bool:
    return any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))
