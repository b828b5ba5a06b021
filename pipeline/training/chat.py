"""Answers of a trained model, token by token, with what the base model would have answered beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from pipeline.errors import UsageError
from pipeline.models import TokenizerInfo
from pipeline.training.merge import open_tuned
from pipeline.training.model import device, fit_embeddings, load_base, precision
from pipeline.training.trained import ADAPTER, Sampling, TrainedRun
from pipeline.training.with_base import of_run


class Speaker:
    """The model of a run, and its base model: the same one with the adapter switched off, or another that is loaded when it is asked."""

    def __init__(self, run: TrainedRun, info: TokenizerInfo) -> None:
        self._both = of_run(run, _open(run, info), precision(run.recipe))

    @property
    def max_context(self) -> int:
        """How many tokens prompt and answer may have together."""
        return int(getattr(self._both.tuned.config, "max_position_embeddings", 0) or 2048)

    def answer(self, prompt: Sequence[int], ends: Collection[int], sampling: Sampling, say: Callable[[int], None], base: bool = False) -> None:
        """Go on from the ids ``prompt`` and give each new id to ``say``, through the first of ``ends`` or to the limit.

        ``base``: let the base model answer; raises UsageError when a run was trained from scratch and has none.
        """
        config = GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            do_sample=sampling.temperature > 0,
            temperature=sampling.temperature or None,
            top_k=0,
            top_p=1.0,
            eos_token_id=sorted(ends),
            pad_token_id=min(ends),
            use_cache=True,
        )
        with self._choose(base) as model, torch.no_grad():
            torch.manual_seed(sampling.seed)
            ids = torch.tensor([list(prompt)], device=model.device)
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, streamer=_Stream(say))

    @contextmanager
    def _choose(self, base: bool) -> Iterator[Any]:
        if not base:
            yield self._both.tuned
            return
        with self._both.base() as model:
            if model is None:
                raise UsageError("/base", "has no model to ask", "the run was trained from scratch")
            yield model


def _open(run: TrainedRun, info: TokenizerInfo) -> Any:
    """The model that answers: on a GPU with its base in the bits it was trained in, which needs the least memory; on a CPU in 16 or 32."""
    if run.is_whole or device() == "cpu":
        return open_tuned(run, info, precision(run.recipe))
    base = load_base(run.recipe.base_model, run.recipe, precision(run.recipe))
    fit_embeddings(base, info, run.recipe)
    return PeftModel.from_pretrained(base, str(run.folder / ADAPTER)).eval()


class _Stream(BaseStreamer):  # type: ignore[misc,unused-ignore]
    """Passes on what ``generate`` writes, without the prompt, which comes first."""

    def __init__(self, say: Callable[[int], None]) -> None:
        self._say, self._is_prompt = say, True

    def put(self, value: torch.Tensor) -> None:
        """Ids, int64 of any shape."""
        if not self._is_prompt:
            for token in value.flatten().tolist():
                self._say(token)
        self._is_prompt = False

    def end(self) -> None:
        """Nothing is left to do."""
