"""Near-duplicates: what is similar enough is found, and nothing else is removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import text
from pipeline.dedup.exact import Exact
from pipeline.dedup.near import NUM_BANDS, Near, rows_per_band
from pipeline.dedup.pairs import HOT_BUCKET

Find = Callable[..., Any]
Essay = Callable[[int, int], str]
share_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)


def removed(found: Any) -> list[int]:
    """The rows that were removed."""
    rows: list[int] = found.removed["row"].to_pylist()
    return rows


def clustered(found: Any) -> list[int]:
    """The rows that have duplicates, kept or removed."""
    return sorted(removed(found) + found.groups["row"].to_pylist())


def jaccard(one: str, other: str, n: int) -> float:
    """Similarity of the two sets of word n-grams, by the definition."""
    left, right = ({tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} for words in (text.words(one), text.words(other)))
    return len(left & right) / len(left | right)


def edited(original: str, positions: Sequence[int]) -> str:
    """The text with the words at these positions replaced."""
    words = original.split()
    for position in positions:
        words[position % len(words)] = f"changed{position}"
    return " ".join(words)


def test_edits_are_found_at_the_threshold_and_not_below(find: Find, essay: Essay) -> None:
    """Of copies with 0 to 12 changed words in 200, exactly those go whose 5-gram similarity reaches 0.8."""
    for changes in range(13):
        original = essay(changes, 200)
        copy = edited(original, range(7, 7 + 14 * changes, 14))
        found = find([original, copy], None, Near())
        similarity = jaccard(original, copy, 5)
        assert bool(removed(found)) == (similarity >= 0.8)
        assert found.removed["score"].to_pylist() == ([similarity] if similarity >= 0.8 else [])


@pytest.mark.parametrize("num_words", [20, 30, 45, 70, 78])
def test_one_changed_word_in_a_short_text_is_found(find: Find, essay: Essay, num_words: int) -> None:
    """Wherever the word stands, and across the border between short and long."""
    for position in (0, 4, num_words // 2, num_words - 1):
        original = essay(position, num_words)
        assert clustered(find([original, edited(original, [position])], None, Near())) == [0, 1]
    original = essay(99, num_words)
    assert removed(find([original, f"Please {original} Thank you!"], None, Near())) == [0]


def test_many_changed_words_in_a_short_text_are_another_text(find: Find, essay: Essay) -> None:
    """Three slots of a template make another instruction; and in a few words even one does."""
    original = essay(1, 30)
    assert removed(find([original, edited(original, [5, 15, 25])], None, Near())) == []
    assert removed(find(["What is the capital of France now", "What is the capital of Spain now"], None, Near())) == []


def test_reordered_and_reformatted_copies_are_found(find: Find, essay: Essay) -> None:
    """Shuffled paragraphs, and case, punctuation, width and white space together."""
    paragraphs = [essay(seed, 60) for seed in range(8)]
    shuffled = Random(0).sample(paragraphs, len(paragraphs))
    plain = "\n\n".join(paragraphs)
    restyled = "  ".join(plain.upper().replace(".", " !").split()).replace("A", "\uff21")
    found = find([plain, "\n\n".join(shuffled), restyled], None, Near())
    assert clustered(found) == [0, 1, 2]
    assert found.groups.num_rows == 1


def test_templates_are_not_merged(find: Find, essay: Essay) -> None:
    """Pages that share half of their text stay apart, however many there are; a planted copy among so many is still found."""
    frame = [essay(1000 + part, 50) for part in range(3)]
    pages = [f"{frame[0]} {essay(page, 50)} {frame[1]} {essay(5000 + page, 50)} {frame[2]}" for page in range(3 * HOT_BUCKET)]
    found = find([*pages, edited(pages[7], [30])])
    assert clustered(found) == [7, len(pages)]
    assert found.num_hot_buckets > 0


def test_a_score_is_a_similarity_with_a_kept_document(find: Find, essay: Essay) -> None:
    """In a chain where each text is like the next, one is kept, the scores reach the threshold, and all names are of kept documents."""
    chain = [essay(3, 400)]
    for link in range(6):
        chain.append(edited(chain[-1], range(20 + 50 * link, 60 + 50 * link, 8)))
    assert jaccard(chain[0], chain[-1], 5) < 0.8 <= min(jaccard(a, b, 5) for a, b in pairwise(chain))
    found = find(chain)
    assert len(removed(found)) == len(chain) - 1
    assert min(found.removed["score"].to_pylist()) >= 0.8
    assert found.removed["duplicate_of"].to_pylist() == found.groups["id"].to_pylist() * (len(chain) - 1)


def test_an_exact_twin_of_a_removed_document_names_the_kept_one(find: Find, essay: Essay) -> None:
    """What is called exact folds to the text of the document it names."""
    short = essay(5, 150)
    longer = edited(short, [70]) + " with some more"
    found = find([short, short.upper(), longer, longer.lower()])
    assert removed(found) == [0, 1, 3]
    assert found.removed["rule"].to_pylist() == ["near", "near", "exact"]
    assert found.removed["score"].to_pylist() == [jaccard(short, longer, 5)] * 2 + [1.0]


def test_other_questions_about_one_passage_stay_apart(find: Find, essay: Essay) -> None:
    """Conversations that share a long passage differ when their answers do; a plain document has no answer to differ by."""
    passage = essay(6, 300)

    def ask(question: str, answer: str) -> list[tuple[str, str]]:
        return [("user", f"{passage} {question}"), ("assistant", answer)]

    asked = ask("Who came first?", "The miller, with his two sons.")
    assert removed(find([asked, ask("When did it end?", "In the autumn of that year.")])) == []
    assert removed(find([asked, ask("Who was first?", "The miller, with his two sons.")])) == [1]
    assert removed(find([asked, ask("Who was first?", "The miller, with his two sons.")], None, Near(compare="answers"))) == [1]
    assert removed(find([asked, f"{passage} Who came first? The miller, with his two sons."])) != []
    assert removed(find([asked, asked[0][1]], None, Near(compare="prompts"))) == []


def test_other_questions_with_one_answer_stay_apart(find: Find, essay: Essay) -> None:
    """Conversations whose long answers are nearly the same are duplicates only when the questions are nearly the same too."""
    answer, question = essay(7, 120), "Why is it better to write the labels first and to plan the shelves only then?"

    def ask(asked: str, answered: str) -> list[tuple[str, str]]:
        return [("user", asked), ("assistant", answered)]

    first = ask(question, answer)
    assert removed(find([first, ask("What should I do before I build any shelves at all in my new cellar?", edited(answer, [9]))])) == []
    assert len(removed(find([first, ask(edited(question, [15]), edited(answer, [9]))]))) == 1


@share_fixtures
@given(st.data())
def test_every_verdict_holds_whatever_the_files(find: Find, essay: Essay, data: st.DataObject) -> None:
    """Split or order of the files change no cluster; what is removed is like something, what is kept is like nothing that is kept."""
    originals = [essay(seed, size) for seed, size in enumerate(data.draw(st.lists(st.integers(25, 220), min_size=1, max_size=4)))]
    places = st.lists(st.integers(0, 219), max_size=8)
    copies = [edited(original, data.draw(places)) for original in originals for _ in range(data.draw(st.integers(0, 3)))]
    items = data.draw(st.permutations([*originals, *copies]))
    found = find(items)
    assert find(items, cuts=data.draw(st.lists(st.integers(0, 50), max_size=4))) == found
    backwards = find(items[::-1])
    assert [len(items) - 1 - row for row in clustered(backwards)[::-1]] == clustered(found)
    assert backwards.removed.num_rows == found.removed.num_rows
    kept = [items[row] for row in range(len(items)) if row not in removed(found)]
    for row, rule, score in zip(removed(found), found.removed["rule"].to_pylist(), found.removed["score"].to_pylist(), strict=True):
        n = 5 if len(items[row].split()) >= 80 else 3
        likeness = [jaccard(items[row], item, n) for other, item in enumerate(items) if other != row]
        assert score in likeness and score >= (1.0 if rule == "exact" else 0.8 if n == 5 else 0.7)
    for place, one in enumerate(kept):
        assert all(jaccard(one, other, 5 if min(len(one.split()), len(other.split())) >= 80 else 3) < 0.8 for other in kept[:place])


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.95, 1.0])
def test_bands_are_chosen_so_that_the_threshold_is_met(threshold: float) -> None:
    """A pair at the threshold is overlooked at most once in a thousand times, and bands are no shorter than that takes."""
    rows = rows_per_band(Near(threshold=threshold, short_threshold=1.0))
    miss, next_miss = ((1 - threshold**size) ** NUM_BANDS for size in (rows, rows + 1))
    assert miss <= 1e-3
    assert rows == 16 or next_miss > 1e-3


def test_the_seed_changes_no_verdict_here_and_bad_lengths_are_refused(find: Find, essay: Essay) -> None:
    """Another seed draws other bands; the exact comparison decides as before."""
    items = [essay(1, 120), edited(essay(1, 120), [60]), essay(2, 120)]
    assert find(items, near=Near(seed=1)).removed == find(items, near=Near(seed=2**40)).removed
    assert clustered(find(items)) == [0, 1]
    with pytest.raises(ValueError, match="short_ngram is 3, longer than ngram"):
        Near(ngram=2)


def test_documents_without_words_are_left_alone(find: Find) -> None:
    """Empty and wordless texts are near nothing."""
    assert removed(find(["", "...", "!!!", "", [("user", "")], [("system", "a b c")]], None, Near())) == []


def test_exact_and_near_may_compare_different_parts(find: Find, essay: Essay) -> None:
    """Exact by prompts and near by answers work side by side."""
    answer = essay(8, 120)
    items = [
        [("user", "Tell me."), ("assistant", essay(9, 120))],
        [("user", "tell me"), ("assistant", "No.")],
        [("user", "Say it."), ("assistant", answer)],
        [("user", "Speak."), ("assistant", f"{answer} Indeed.")],
    ]
    found = find(items, Exact(compare="prompts"), Near(compare="answers"))
    assert removed(found) == [1, 2]
    assert found.removed["rule"].to_pylist() == ["exact", "near"]
