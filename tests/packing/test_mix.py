"""How often each source stands in the rows."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.packing.mix import copies, times


def test_nothing_said_is_once_each() -> None:
    """Without settings every sequence stands once."""
    assert times(["a", "b"], np.array([5, 0]), {}, {}).tolist() == [1.0, 1.0]
    assert copies(np.arange(3, dtype=np.uint64), np.array([0, 0, 1]), np.array([1.0, 1.0]), 0).tolist() == [1, 1, 1]


def test_a_ratio_takes_as_much_as_the_scarcest_source_can_give() -> None:
    """The scarcest source is used whole, the others are cut down to their share; more epochs allow more."""
    tokens = np.array([1000, 100, 300])
    assert times(["a", "b", "c"], tokens, {}, {"a": 1, "b": 1, "c": 0}).tolist() == [0.1, 1.0, 0.0]
    assert times(["a", "b", "c"], tokens, {"b": 4}, {"a": 1, "b": 1, "c": 0}).tolist() == [0.4, 4.0, 0.0]


@pytest.mark.parametrize(
    ("epochs", "ratio", "what"),
    [
        ({"forun": 2.0}, {}, "epochs.forun: there is no such source; did you mean 'forum'?"),
        ({"forum": -1.0}, {}, "epochs.forum: is -1.0"),
        ({}, {"forum": 1.0}, "ratio: does not name the source 'wiki'"),
        ({}, {"forum": 0.0, "wiki": 0.0}, "ratio: is 0 for every source"),
    ],
)
def test_what_does_not_fit_is_refused(epochs: dict[str, float], ratio: dict[str, float], what: str) -> None:
    """A wrong name or number is one line that says what to write."""
    with pytest.raises(UsageError) as error:
        times(["forum", "wiki"], np.array([1, 1]), epochs, ratio)
    assert what in str(error.value)
