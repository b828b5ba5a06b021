"""A trained model beside the base model it came from, which is loaded only when it is asked for. No torch here until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.training.recipe import Precision
from pipeline.training.trained import TrainedRun


@dataclass(frozen=True)
class WithBase:
    """``base`` as a context: the tuned model with its adapter off, another one, or None where there is none, as after training from scratch."""

    tuned: Any
    base: Callable[[], Any]


def with_base(tuned: Any, load_base: Callable[[], Any]) -> WithBase:
    """Both models; ``load_base`` gives the base of one that was trained whole, and is called once, when it is needed."""
    tuned.eval()
    loaded: list[Any] = []

    @contextmanager
    def base() -> Iterator[Any]:
        if hasattr(tuned, "disable_adapter"):
            with tuned.disable_adapter():
                yield tuned
        else:
            if not loaded:
                loaded.append(load_base())
            yield loaded[0]

    return WithBase(tuned, base)


def of_run(run: TrainedRun, tuned: Any, wanted: Precision) -> WithBase:
    """The opened model of a run, with the base model that its recipe names, held in ``wanted``."""

    def load_base() -> Any:
        from pipeline.training import model

        return None if run.recipe.init == "random" else model.load_base(run.recipe.base_model, run.recipe, wanted)

    return with_base(tuned, load_base)
