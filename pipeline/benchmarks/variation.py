"""More text than a corpus has, no two passages alike: copies in which every word gives way to another of its kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from pipeline.benchmarks.corpus import Corpus

_WORD = re.compile(r"[A-Za-z]{3,}")
_RARE = 2
"""A word seen so often at most is made anew in each copy, since new text brings new words."""


def grown(corpus: Corpus, min_bytes: int) -> Corpus:
    """The corpus itself, then varied copies of it, until there are ``min_bytes`` of text. Raises ValueError when it holds no text."""
    if not corpus.megabytes:
        raise ValueError("a corpus without text does not grow")
    texts, size = list(corpus.texts), int(corpus.megabytes * 1e6)
    for text in _copies(corpus) if size < min_bytes else ():
        texts.append(text)
        size += len(text.encode("utf-8", "replace"))
        if size >= min_bytes:
            break
    about = f"{corpus.origin}, {len(texts) / len(corpus.texts):.1f} times over with other words" if len(texts) > len(corpus.texts) else corpus.origin
    return Corpus(tuple(texts), about)


def _copies(corpus: Corpus) -> Iterator[str]:
    seen = Counter(word for text in corpus.texts for word in _WORD.findall(text))
    kinds = _kinds(seen)
    copy = 0
    while True:
        copy += 1
        other = _others(seen, kinds, copy)
        for text in corpus.texts:
            yield f"{_replaced(text, other)}\n({copy})"


def _replaced(text: str, other: Mapping[str, str]) -> str:
    return _WORD.sub(lambda word: other[word[0]], text)


def _kinds(seen: Mapping[str, int]) -> dict[tuple[int, int, bool], list[str]]:
    """Words of one length, capital or not, and of about one frequency."""
    kinds: dict[tuple[int, int, bool], list[str]] = {}
    for word, times in sorted(seen.items()):
        kinds.setdefault((len(word), times.bit_length(), word[0].isupper()), []).append(word)
    return kinds


def _others(seen: Mapping[str, int], kinds: Mapping[tuple[int, int, bool], list[str]], copy: int) -> dict[str, str]:
    """The word that stands for each in a copy: a neighbour of its kind, or for a rare one a new spelling."""
    vowels = "aeiou"
    turned = str.maketrans(vowels, vowels[copy % 5 :] + vowels[: copy % 5])
    others = {}
    for words in kinds.values():
        for number, word in enumerate(words):
            others[word] = words[(number + copy) % len(words)]
            if seen[word] <= _RARE:
                others[word] = others[word].translate(turned)
    return others
