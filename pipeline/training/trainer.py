"""transformers' Trainer, with a loss and an evaluation weighted by tokens, sealed checkpoints, and a stop when the loss breaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from pipeline.errors import GristmillError
from pipeline.training.checkpoints import seal
from pipeline.training.metrics import OF_SOURCE
from pipeline.training.objective import predict
from pipeline.training.recipe import Recipe

_LOOK_AT_LABELS = "look at the labels of the rows: is every answer cut off?"


class RecipeTrainer(Trainer):
    """The Trainer with what it lacks; see the module. ``sources``: the names that the codes in validation batches stand for."""

    def __init__(self, recipe: Recipe, sources: Sequence[str], **arguments: Any) -> None:
        super().__init__(optimizer_cls_and_kwargs=_own_optimizer(recipe), **arguments)
        self._recipe, self._sources = recipe, sources
        self._right, self._learned = torch.zeros((), device=self.args.device), 0
        # the supervised tokens of a whole step are counted, and compute_loss divides by them
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = self._loss_shifts_labels = True

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The recipe's optimizer, with the L1 penalty after each of its steps."""
        optimizer: Any = super().create_optimizer(model)
        if self._recipe.l1_penalty:
            optimizer.register_step_post_hook(lambda done, *_: shrink(done.param_groups[0], self._recipe.l1_penalty))
        return optimizer  # type: ignore[no-any-return]

    def compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The batch's part of the mean over all supervised tokens of the step, on all devices."""
        found = predict(model, inputs)
        if not len(found.losses):
            raise GristmillError(f"step {self.state.global_step + 1}", "no token of the batch is supervised", _LOOK_AT_LABELS)
        self._right += found.right.sum()
        self._learned += len(found.losses)
        # gradients are averaged over the devices afterwards
        loss = found.losses.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; raises GristmillError before a broken loss can reach the weights."""
        tensor: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        loss, where = tensor.item(), f"step {self.state.global_step + 1}"
        if not math.isfinite(loss):
            rate = f"{self._get_learning_rate():.2g}"
            raise GristmillError(where, f"the loss is {loss}", f"lower learning_rate (it was {rate}), or use bf16 instead of fp16")
        if loss == 0.0:
            raise GristmillError(where, "the loss is 0, so nothing can be learned", _LOOK_AT_LABELS)
        return tensor

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: nobody reads it, and counting walks over all modules at each pass."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the token accuracy since the last line."""
        if "loss" in logs:
            counts = torch.tensor([self._right.item(), self._learned], dtype=torch.float64, device=self.args.device)
            right, learned = self.accelerator.reduce(counts).tolist()
            logs = {**logs, "accuracy": right / learned} if learned else logs
            self._right, self._learned = torch.zeros_like(self._right), 0
        super().log(logs, start_time)

    def evaluation_loop(self, dataloader: Any, description: str, *arguments: Any, metric_key_prefix: str = "eval", **others: Any) -> EvalLoopOutput:
        """Mean loss and accuracy over all supervised tokens, where the Trainer's loss is the mean of the batches' means; and of each source."""
        model: Any = self.model
        model.eval()
        total = torch.zeros(len(self._sources) + 1, 3, dtype=torch.float64)
        num_rows = 0
        for batch in dataloader:
            batch = self._prepare_inputs(batch)
            sums = self.accelerator.gather_for_metrics(self._sums(model, batch))  # without the rows that fill up the last batch
            total += sums.sum(dim=0).cpu()
            num_rows += len(sums)
        loss, right, num_tokens = total.sum(dim=0).tolist()
        where = f"step {self.state.global_step}"
        if not num_tokens:
            raise GristmillError(where, "no token of the validation rows is supervised", _LOOK_AT_LABELS)
        if not math.isfinite(loss):
            raise GristmillError(where, f"the validation loss is {loss}", "lower learning_rate, or look whether base_model is damaged")
        values = {"loss": loss / num_tokens, "accuracy": right / num_tokens, "tokens": int(num_tokens)}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        of_sources = zip(self._sources, total.tolist(), strict=False)
        metrics |= {f"{OF_SOURCE}{source}": nats / tokens for source, (nats, _, tokens) in of_sources if tokens}
        nothing: Any = None
        return EvalLoopOutput(predictions=nothing, label_ids=nothing, metrics=metrics, num_samples=num_rows)

    def _sums(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """float64[rows, sources + 1, 3]: losses, hits and number of the supervised tokens; the last source is an unknown one."""
        sources = batch.pop("sources", None)
        with torch.no_grad():
            found = predict(model, batch)
        values = torch.stack([found.losses.double(), found.right.double(), torch.ones_like(found.losses, dtype=torch.float64)], dim=1)
        unknown = len(self._sources)
        source = sources[found.row, found.column] if sources is not None else torch.full_like(found.row, unknown)
        sums = torch.zeros(len(batch["labels"]), unknown + 1, 3, dtype=torch.float64, device=values.device)
        return sums.index_put_((found.row, source), values, accumulate=True)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")


def _own_optimizer(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The optimizers that the Trainer does not know by name."""
    if recipe.optimizer != "adam":
        return None
    return torch.optim.Adam, {"lr": recipe.learning_rate, "betas": (recipe.adam_beta1, recipe.adam_beta2), "eps": recipe.adam_epsilon}


def shrink(group: dict[str, Any], l1_penalty: float) -> None:
    """Move the weights of an optimizer's group towards 0 by ``l1_penalty`` times its learning rate, and not beyond."""
    with torch.no_grad():
        for weight in group["params"]:
            weight.copy_(torch.nn.functional.softshrink(weight, l1_penalty * group["lr"]))
