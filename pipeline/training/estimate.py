"""What a recipe asks for before it runs: steps and tokens, a learning rate to compare with, what fits where, and what to change when it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError, nearest
from pipeline.training import steps
from pipeline.training.recipe import Recipe

MIB = 2**20
MIN_TEXT_BYTES = 10 * MIB
"""With less text a warning is given; the project's own choice, after its user's guides."""

MAX_SHARE = 0.8
"""A source with a larger share of the supervised tokens dominates; ours."""

FAR = 10.0
"""A learning rate this many times above or below what the rule gives is far from it; ours."""

QLORA_RATE = 2e-4
"""What recipes for QLoRA commonly have (axolotl's examples; Dettmers et al. 2023, table 9, up to 13B parameters)."""


@dataclass(frozen=True)
class Gpu:
    """A GPU by what it reports: memory in MiB as nvidia-smi shows it, and whether it multiplies bf16 (from Ampere on)."""

    memory_mib: int
    multiplies_bf16: bool = True

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes."""
        return self.memory_mib * MIB


GPUS: Mapping[str, Gpu] = {
    "T4": Gpu(15360, multiplies_bf16=False),
    "RTX 3060": Gpu(12288),
    "RTX 3090": Gpu(24576),
    "RTX 4080": Gpu(16376),
    "RTX 4090": Gpu(24564),
    "L4": Gpu(23034),
    "A10G": Gpu(23028),
    "L40S": Gpu(46068),
    "A100 40GB": Gpu(40960),
    "A100 80GB": Gpu(81920),
    "H100": Gpu(81559),
    "H200": Gpu(143771),
}

GPU_OVERHEAD = 1343 * 10**6
"""Bytes of a GPU's context and kernels: what transformers' documentation measured (Model training anatomy); newer CUDA takes less."""


def find_gpu(name: str) -> tuple[str, Gpu]:
    """The GPU of GPUS that goes by ``name``, however it is spelled (``rtx4090``, ``a100-80``); raises UsageError."""
    wanted = _bare(name)
    found = [known for known in GPUS if wanted in (_bare(known), _bare(known).removesuffix("gb"), _bare(known).removeprefix("rtx"))]
    if not found:
        raise UsageError(f"--gpu {name}", "is not in the table of GPUs", f"{nearest(name, GPUS)}; or name its memory: --memory GIB")
    return found[0], GPUS[found[0]]


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum()).removeprefix("nvidia")


@dataclass(frozen=True)
class Plan:
    """A run in numbers. ``tokens_per_step`` and ``supervised_per_step`` are means; ``supervised_share`` is of all tokens of the rows."""

    rows: int
    validation_rows: int
    steps: int
    epochs: float
    tokens_per_step: float
    supervised_per_step: float
    supervised_share: float
    evaluations: int
    evaluated_rows: int


def plan(recipe: Recipe, splits: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan for rows of which the manifest's ``splits`` are told: rows, tokens and learned tokens of each. Needs at least one row to train on."""
    train = splits["train"]
    rows = int(train["rows"])
    epoch, num_steps = steps.per_epoch(recipe, rows), steps.in_all(recipe, rows)
    validation = min(int(splits.get("validation", {}).get("rows", 0)), recipe.eval_max_rows or 2**62)
    every = steps.interval(recipe.eval_steps, recipe.evals_per_epoch, epoch) or num_steps
    every = math.ceil(every * num_steps) if every < 1 else every
    evaluations = (1 + math.ceil(num_steps / every)) if validation else 0  # the first step's and the last's are there in any case
    rows_per_step = min(rows, recipe.micro_batch_size * recipe.gradient_accumulation_steps)
    return Plan(
        rows=rows,
        validation_rows=validation,
        steps=num_steps,
        epochs=num_steps / epoch,
        tokens_per_step=rows_per_step * int(train["tokens"]) / rows,
        supervised_per_step=rows_per_step * int(train["learned"]) / rows,
        supervised_share=int(train["learned"]) / max(1, int(train["tokens"])),
        evaluations=evaluations,
        evaluated_rows=evaluations * validation,
    )


@dataclass(frozen=True)
class BaseRate:
    """What a model was pretrained with: the peak learning rate and the tokens of a batch, with where it is said."""

    name: str
    rate: float
    batch_tokens: float
    source: str


BASE_RATES = (
    BaseRate("mistral", 5e-5, 4e6, "not published; the value that is commonly assumed for this rule, with Llama 2's batch"),
    BaseRate("llama", 3e-4, 4e6, "Touvron et al. 2023, Llama 2, section 2.2 (7B and 13B)"),
)


def suggested_rate(base: BaseRate, supervised_per_step: float) -> float:
    """The square-root rule: the pretraining rate times the root of the ratio of batches, in supervised tokens a step."""
    return base.rate * math.sqrt(supervised_per_step / base.batch_tokens)


def rate_lines(recipe: Recipe, family: str, supervised_per_step: float) -> list[str]:
    """The recipe's learning rate beside what the rule gives for the known bases, its own family's alone where it is known.

    ``family``: what the model is called, such as ``mistral``.
    """
    known = [base for base in BASE_RATES if base.name in family.lower()] or list(BASE_RATES)
    lines = [
        f"{base.name}: {base.rate:.0e} * sqrt({supervised_per_step:,.0f} / {base.batch_tokens:.0e}) = {suggested_rate(base, supervised_per_step):.2g}"
        for base in known
    ]
    ratios = [recipe.learning_rate / suggested_rate(base, supervised_per_step) for base in known]
    verdict = f"the recipe has {recipe.learning_rate:g}"
    if all(ratio > FAR for ratio in ratios) or all(ratio < 1 / FAR for ratio in ratios):
        verdict += f", {min(ratios):,.2g} to {max(ratios):,.2g} times the rule's" if len(ratios) > 1 else f", {ratios[0]:,.2g} times the rule's"
    lines.append(verdict)
    if recipe.adapter != "none":
        lines.append(f"the rule is for training every weight; recipes for LoRA and QLoRA commonly have {QLORA_RATE:g}")
    return lines


def warnings(learned_by_source: Mapping[str, int], text_bytes: float | None) -> list[str]:
    """What is doubtful about the data: too little text, or one source that dominates."""
    found = []
    if text_bytes is not None and text_bytes < MIN_TEXT_BYTES:
        found.append(f"only {text_bytes / MIB:.2g} MiB of text: less than {MIN_TEXT_BYTES // MIB} MiB are soon learned by heart; watch validation")
    total = sum(learned_by_source.values())
    for source, learned in learned_by_source.items():
        if len(learned_by_source) > 1 and learned > MAX_SHARE * total:
            found.append(f"{learned / total:.0%} of the supervised tokens are of {source}: set ratio or epochs in stages/tokenize.yaml to balance it")
    return found


@dataclass(frozen=True)
class Change:
    """A recipe that fits, and the settings that made it so."""

    settings: Mapping[str, Any]
    total: int


def first_that_fits(recipe: Recipe, total: Callable[[Recipe], int], limit: int) -> Change | None:
    """The first change of the recipe whose memory (``total``, bytes) is at most ``limit``: each alone, then one more after the other.

    None when nothing that is known here is enough.
    """
    for changed in _candidates(recipe):
        needed = total(changed)
        if needed <= limit:
            return Change(_differences(recipe, changed), needed)
    return None


def _candidates(recipe: Recipe) -> Iterator[Recipe]:
    for change in _CHANGES:
        yield from change(recipe)
    together = recipe
    for change in _CHANGES:
        for changed in change(together):
            yield changed
            together = changed


def _differences(before: Recipe, after: Recipe) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(before)]
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


def _smaller_batches(recipe: Recipe) -> Iterator[Recipe]:
    """Half the rows a pass, and twice the passes a step, down to one row."""
    rows, passes = recipe.micro_batch_size, recipe.gradient_accumulation_steps
    while rows > 1 and rows % 2 == 0:
        rows, passes = rows // 2, passes * 2
        yield dataclasses.replace(recipe, micro_batch_size=rows, gradient_accumulation_steps=passes)
    if rows > 1:
        yield dataclasses.replace(recipe, micro_batch_size=1, gradient_accumulation_steps=passes * rows)


def _checkpointing(recipe: Recipe) -> Iterator[Recipe]:
    if not recipe.gradient_checkpointing:
        yield dataclasses.replace(recipe, gradient_checkpointing=True)


def _qlora(recipe: Recipe) -> Iterator[Recipe]:
    if recipe.adapter != "qlora" and recipe.init != "random":
        yield dataclasses.replace(recipe, adapter="qlora", load_in_4bit=None, load_in_8bit=False, bfloat16=False)


def _paged(recipe: Recipe) -> Iterator[Recipe]:
    if "8bit" not in recipe.optimizer:
        yield dataclasses.replace(recipe, optimizer="paged_adamw_8bit")


def _shorter(recipe: Recipe) -> Iterator[Recipe]:
    length = recipe.sequence_len // 2
    while length >= 128:
        yield dataclasses.replace(recipe, sequence_len=length)
        length //= 2


_CHANGES = (_smaller_batches, _checkpointing, _qlora, _shorter, _paged)
"""In the order of what they cost: none of the first two changes what is learned."""
