"""What optimizers keep of each trained weight, and what an update makes on the way, in bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

FP32 = 4

Shape = tuple[int, ...]

_MOMENTS = {"sgd": 1, "adam": 2, "adamw": 2, "rmsprop": 1, "adagrad": 1, "lion": 1}
"""Numbers kept a weight: SGD's momentum, Adam's two means, the mean of squares of RMSprop and Adagrad, Lion's momentum."""

_BLOCK = 256
"""Weights that share a scale in an 8-bit optimizer (Dettmers et al. 2022, 8-bit optimizers via block-wise quantization)."""

_SMALLEST_8BIT = 4096
"""bitsandbytes keeps the state of smaller tensors in 32 bits (its argument ``min_8bit_size``)."""


def optimizer_bytes(name: str, shapes: Sequence[Shape]) -> int:
    """Bytes of the state that the optimizer of a recipe keeps for weights of these shapes."""
    if name == "adafactor":
        return sum(_factored(shape) for shape in shapes) * FP32
    moments = next(number for family, number in sorted(_MOMENTS.items(), key=lambda item: -len(item[0])) if family in name)
    sizes = [math.prod(shape) for shape in shapes]
    if "8bit" not in name:
        return moments * FP32 * sum(sizes)
    return moments * sum(size + -(-size // _BLOCK) * FP32 if size >= _SMALLEST_8BIT else size * FP32 for size in sizes)


def _factored(shape: Shape) -> int:
    """Numbers that Adafactor keeps: means of rows and of columns of a matrix, all squares of a vector (Shazeer and Stern 2018)."""
    if len(shape) < 2:
        return math.prod(shape)
    return math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1]


def scratch_bytes(name: str, shapes: Sequence[Shape], on_gpu: bool) -> int:
    """Bytes that an update makes besides: a root of the squares and its quotient for one weight at a time, on a GPU for all at once.

    PyTorch's AdamW takes weights one by one on a CPU (``_single_tensor_adamw``: two passing results) and together on a GPU
    (``_multi_tensor_adamw``: one for each weight); fused and bitsandbytes' kernels make none.
    """
    if "fused" in name or "bit" in name or not shapes:
        return 0
    sizes = [math.prod(shape) * FP32 for shape in shapes]
    return sum(sizes) if on_gpu else 2 * max(sizes)
