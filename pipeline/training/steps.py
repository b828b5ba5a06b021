"""How many steps a recipe takes over its rows, counted as transformers' Trainer counts them. No torch here."""

from __future__ import annotations

import math

from pipeline.training.recipe import Recipe


def per_epoch(recipe: Recipe, num_rows: int, num_processes: int = 1) -> int:
    """Steps of one pass over the training rows; the last of them may be a smaller one."""
    batches = math.ceil(num_rows / (recipe.micro_batch_size * num_processes))
    return math.ceil(batches / recipe.gradient_accumulation_steps)


def in_all(recipe: Recipe, num_rows: int) -> int:
    """Steps of a whole run of one process."""
    return recipe.max_steps or math.ceil((recipe.num_epochs or 1.0) * per_epoch(recipe, num_rows))


def interval(steps: float | None, times_per_epoch: int | None, epoch: int) -> float | None:
    """Steps between two evaluations or checkpoints; below 1 a share of all steps, as the Trainer takes it. ``epoch``: steps of one."""
    if times_per_epoch:
        return max(1, round(epoch / times_per_epoch))
    return steps if not steps or steps < 1 else int(steps)
