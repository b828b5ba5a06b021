"""How much memory a training run takes, by part: one step of the recipe's model on tensors without contents, every byte of it counted.

No weights are needed, only the model's configuration: the model is built of fake tensors, which have shapes and types but no contents, and
the forward and backward passes of a run go over them. What autograd keeps, what is made on the way and what checkpointing saves is thereby
counted on the very model, whatever its architecture. Kernels of a CPU are taken for those of a GPU too.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.training.optimizer_memory import optimizer_bytes, scratch_bytes
from pipeline.training.recipe import Precision, Recipe
from pipeline.training.shape import build

ACTIVATIONS, LOGITS, GRADIENTS = "activations", "logits", "gradients"
Bytes = Mapping[str, int]

_AUTOCAST: Mapping[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Parts:
    """Bytes of one device's memory by what they hold.

    ``quantized``: weights in 4 or 8 bits with their scales. ``weights``: the other weights of the model. ``adapters``: LoRA's matrices and
    the layers trained beside them. ``activations``: what the backward pass needs, and passing results. ``logits``: the model's output over
    the vocabulary and what the loss makes of it. ``allocator``: freed memory that it keeps and cannot use again. ``overhead``: interpreter
    and libraries, or the context of a GPU.
    """

    quantized: int = 0
    weights: int = 0
    adapters: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    allocator: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True)
class Memory:
    """What a run needs: the parts at each of its ``moments`` (loading, gradients, update, validation), one after the other."""

    moments: Mapping[str, Parts]

    @property
    def fullest(self) -> str:
        """The moment that decides."""
        return max(self.moments, key=lambda name: self.moments[name].total)

    @property
    def peak(self) -> Parts:
        """The parts at that moment."""
        return self.moments[self.fullest]


HEAP_WASTE = 0.5
"""Share of the passing tensors that a process's heap keeps besides: freed blocks that small objects have split are not used again for large
ones, though optimizer states, which come after the first step, fill them. Measured with glibc 2.36 and PyTorch 2.13 on SmolLM2-135M in
three settings of LoRA: 0.33, 0.62 and 0.56; in a fourth, training every weight in fp32, the optimizer's states left none
(docs/learning-curves.md). A GPU's own allocator was not measured.
"""


@dataclass(frozen=True)
class Place:
    """Where a run would go. ``overhead``: bytes that are taken there before there is a model.

    ``stored``: bytes of the weight files, which lie in main memory beside the loaded weights while these are converted; 0 on a GPU.
    """

    on_gpu: bool
    overhead: int
    stored: int = 0


def estimate(config: Any, recipe: Recipe, wanted: Precision, place: Place, learned: int | None = None) -> Memory:
    """The memory of a run with ``recipe`` on a model of ``config`` (a ``PreTrainedConfig``), its matrices multiplied in ``wanted``.

    ``learned``: supervised tokens of the row that has most; by default all that a row can have.
    """
    step = simulate(config, recipe, wanted, learned if learned is not None else recipe.sequence_len - 1)
    # paged states move to main memory when the GPU's runs short
    state = 0 if place.on_gpu and recipe.optimizer.startswith("paged") else optimizer_bytes(recipe.optimizer, step.trained)
    base = Parts(step.quantized, step.weights, step.adapters, optimizer=state, overhead=place.overhead)
    scratch = scratch_bytes(recipe.optimizer, step.trained, place.on_gpu)
    moments = {
        "gradients": dataclasses.replace(base, **step.step, allocator=_waste(step.step, state, place)),
        "update": dataclasses.replace(base, gradients=step.gradients, activations=scratch),
        "validation": dataclasses.replace(base, **step.evaluation, allocator=_waste(step.evaluation, state, place)),
    }
    if not place.on_gpu:
        moments = {"loading": Parts(step.quantized, step.weights + place.stored, overhead=place.overhead), **moments}
    return Memory(moments)


def _waste(passing: Bytes, state: int, place: Place) -> int:
    return 0 if place.on_gpu else max(0, round(HEAP_WASTE * (passing[ACTIVATIONS] + passing[LOGITS])) - state)


@dataclass(frozen=True)
class Step:
    """What a simulated step met: bytes that stay, and what there was besides at the fullest moment of a step and of an evaluation."""

    quantized: int
    weights: int
    adapters: int
    gradients: int
    trained: tuple[tuple[int, ...], ...]
    step: Bytes
    evaluation: Bytes


def simulate(config: Any, recipe: Recipe, wanted: Precision, learned: int) -> Step:
    """One micro-batch of full rows forward and backward, and one evaluated; with accumulation, one with gradients there already."""
    with FakeTensorMode():
        model = build(config, recipe, wanted)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        if recipe.gradient_checkpointing:
            # without contents there is no randomness to repeat
            model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        batch = _batch(recipe, learned)
        if recipe.gradient_accumulation_steps > 1:
            for weight in trained:
                weight.grad = torch.zeros_like(weight)
        stepping = _measure(model.train(), trained, batch, lambda: _loss(model, batch, wanted).sum().backward())
        for weight in trained:
            weight.grad = None
        with torch.no_grad():
            evaluating = _measure(model.eval(), trained, batch, lambda: _loss(model, batch, wanted))
        return Step(
            **_held(model),
            gradients=sum(weight.untyped_storage().nbytes() for weight in trained),
            trained=tuple(tuple(weight.shape) for weight in trained),
            step=stepping,
            evaluation=evaluating,
        )


def _batch(recipe: Recipe, learned: int) -> dict[str, torch.Tensor]:
    """Inputs of a micro-batch, and the positions whose output is computed (int64[rows, learned])."""
    rows, length = recipe.micro_batch_size, recipe.sequence_len
    batch = {name: torch.zeros(rows, length, dtype=torch.int64) for name in ("input_ids", "position_ids")}
    return {**batch, "logits_to_keep": torch.zeros(rows, learned, dtype=torch.int64)}


def _loss(model: Any, batch: Mapping[str, torch.Tensor], wanted: Precision) -> torch.Tensor:
    """The losses as a run computes them (``objective.predict``): in mixed precision, with the output turned to fp32 by accelerate."""
    forward = model
    if wanted in _AUTOCAST:
        forward = convert_outputs_to_fp32(torch.autocast("cpu", _AUTOCAST[wanted])(model.__call__))
    logits = forward(**batch, use_cache=False).logits.flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.int64), reduction="none")
    logits.detach().argmax(dim=-1)
    return losses


def _measure(model: Any, trained: list[Any], batch: Mapping[str, torch.Tensor], work: Callable[[], Any]) -> Bytes:
    vocabulary = model.config.get_text_config().vocab_size
    count = _Count([*model.parameters(), *model.buffers(), *batch.values()], vocabulary * batch["logits_to_keep"].numel())
    for weight in trained:
        if weight.grad is not None:
            count.add_gradient(weight)
    handles = [weight.register_post_accumulate_grad_hook(count.add_gradient) for weight in trained]
    with count:
        work()
    for handle in handles:
        handle.remove()
    return count.peak


def _held(model: Any) -> dict[str, int]:
    """Bytes of the weights that a model holds, each storage once."""
    sizes = {"quantized": 0, "weights": 0, "adapters": 0}
    seen = set()
    for weight in [*model.parameters(), *model.buffers()]:
        storage = weight.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            kind = "quantized" if hasattr(weight, "held_bytes") else "adapters" if _is_beside(model, weight) else "weights"
            sizes[kind] += getattr(weight, "held_bytes", storage.nbytes())
    return sizes


def _is_beside(model: Any, weight: Any) -> bool:
    """Whether a weight is trained beside a model that stays as it is."""
    return hasattr(model, "peft_config") and weight.requires_grad


class _Count(TorchDispatchMode):
    """Counts the bytes of each storage that an operation makes for as long as it lives; ``peak`` is what there was at the fullest moment.

    ``known`` tensors do not count. A tensor of ``logits_size`` numbers is the model's output, or the loss's own.
    """

    def __init__(self, known: list[Any], logits_size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._logits_size = logits_size
        self._kept = known  # a storage that lives keeps its address to itself
        self._kinds: dict[int, tuple[str, int]] = {tensor.untyped_storage()._cdata: (ACTIVATIONS, 0) for tensor in known}
        self._watched: dict[int, Any] = {}
        self._live = {ACTIVATIONS: 0, LOGITS: 0, GRADIENTS: 0}
        self.peak: Bytes = dict(self._live)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor, LOGITS if tensor.numel() == self._logits_size else ACTIVATIONS)
        return made

    def add_gradient(self, weight: Any) -> None:
        """The gradient of a weight counts as one, whatever it was before."""
        key = weight.grad.untyped_storage()._cdata
        if key not in self._kinds:
            self._add(weight.grad, GRADIENTS)
            return
        kind, size = self._kinds[key]
        self._live[kind] -= size
        self._live[GRADIENTS] += size
        self._kinds[key] = (GRADIENTS, size)

    def _add(self, tensor: Any, kind: str) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._kinds:
            return
        self._kinds[key] = (kind, size)
        self._live[kind] += size
        self._watched[key] = weakref.ref(storage, lambda _: self._gone(key))
        if sum(self._live.values()) > sum(self.peak.values()):
            self.peak = dict(self._live)

    def _gone(self, key: int) -> None:
        kind, size = self._kinds.pop(key)
        self._live[kind] -= size
        del self._watched[key]


def resident_bytes() -> int:
    """Main memory that this process holds now; where the system does not say, the most it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The most main memory that this process ever held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
