"""python -m pipeline estimate RECIPE: steps, tokens, time and memory of a run before it runs, and what to change when it does not fit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.datasets import Dataset, open_dataset
from pipeline.errors import MissingPackageError
from pipeline.inspection.estimate_rows import most_learned, text_bytes
from pipeline.inspection.shown import table
from pipeline.models import TokenizerInfo
from pipeline.stages.tokenize import DEFAULT_RECIPE
from pipeline.training.estimate import GPU_OVERHEAD, GPUS, Plan, find_gpu, first_that_fits, plan, rate_lines, warnings
from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.recipe import Precision, Recipe, read_recipe

_GIB = 2**30
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the run would go: its name, its memory in bytes, and what it multiplies in when the recipe leaves that open."""

    name: str
    memory_bytes: int
    on_gpu: bool
    precision: Precision


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline estimate", __doc__ or "")
    parser.add_argument("recipe", type=Path, nargs="?", metavar="RECIPE", help=f"the recipe (default: {DEFAULT_RECIPE})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="put one setting over the recipe's")
    parser.add_argument("--tokens", type=Path, metavar="TOKENS", help="the rows (default: data/tokens/<tokenizer>-<length>)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpu", metavar="NAME", help=f"a GPU instead of this machine: {', '.join(GPUS)}")
    where.add_argument("--memory", type=float, metavar="GIB", help="so much memory instead of this machine's")
    parser.add_argument("--modules", action="store_true", help="list the model's linear layers, and say which to adapt")
    parser.add_argument("--quick", action="store_true", help="run no steps to see how long they take")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    recipe = read_recipe(arguments.recipe or bench.find(DEFAULT_RECIPE), arguments.assignments)
    prepare_process()
    try:
        quiet_libraries()
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "estimates", "train") from error
    dataset = _dataset(recipe, arguments.tokens)
    if arguments.modules:
        answer = _modules(recipe, dataset)
        lines = answer.pop("lines")
    else:
        answer = _estimate(recipe, _target(recipe, arguments.gpu, arguments.memory), dataset, arguments.quick)
        lines = _page(answer)
    print(json.dumps(answer, indent=1) if arguments.json else "\n".join(lines))
    return 0


def _dataset(recipe: Recipe, given: Path | None) -> Dataset | None:
    """The rows that were named, which must be there, or those that the recipe trains on, if they are."""
    if given is not None:
        return open_dataset(command.require(given))
    folder = Path("data/tokens") / recipe.tokens_name
    return open_dataset(folder) if folder.is_dir() else None


def _tokens_folder(dataset: Dataset | None) -> Path:
    return dataset.folder if dataset is not None else Path()


def _target(recipe: Recipe, gpu: str | None, memory_gib: float | None) -> Target:
    from pipeline.training import at_hand, model

    if gpu is not None:
        name, found = find_gpu(gpu)
        return Target(name, found.memory_bytes, True, recipe.precision_wanted or ("bf16" if found.multiplies_bf16 else "fp16"))
    on_gpu = model.device() == "cuda"
    memory_bytes = at_hand.machine_bytes(on_gpu) if memory_gib is None else int(memory_gib * _GIB)
    return Target("this machine's GPU" if on_gpu else "this machine's CPU", memory_bytes, on_gpu, model.precision(recipe))


def _estimate(recipe: Recipe, target: Target, dataset: Dataset | None, quick: bool) -> dict[str, Any]:
    from pipeline.training import at_hand, memory, shape

    info = at_hand.tokenizer(recipe, _tokens_folder(dataset))
    config = shape.read_config(recipe.base_model, recipe, info)
    if target.on_gpu:
        place = memory.Place(True, GPU_OVERHEAD)
    else:
        place = memory.Place(False, at_hand.process_bytes(), at_hand.converted_bytes(recipe, target.precision))
    learned = most_learned(dataset) if dataset is not None else None

    @cache
    def needed(changed: Recipe) -> memory.Memory:
        most = min(learned, changed.sequence_len - 1) if learned is not None else None
        return memory.estimate(config, changed, target.precision, place, most)

    found = needed(recipe)
    other = needed(dataclasses.replace(recipe, gradient_checkpointing=not recipe.gradient_checkpointing))
    kept, again = (other, found) if recipe.gradient_checkpointing else (found, other)
    total = found.peak.total
    change = first_that_fits(recipe, lambda changed: needed(changed).peak.total, target.memory_bytes) if total > target.memory_bytes else None
    splits = dataset.manifest.get("splits") if dataset is not None and dataset.rows("train") else None
    planned = plan(recipe, splits) if splits else None
    return {
        "recipe": {name: getattr(recipe, name) for name in ("base_model", "adapter", "optimizer", "sequence_len", "micro_batch_size")},
        "target": dataclasses.asdict(target),
        "plan": dataclasses.asdict(planned) if planned else None,
        "learning_rate": rate_lines(recipe, recipe.base_model, planned.supervised_per_step) if planned else [],
        "warnings": _warnings(dataset, info) if dataset is not None else [],
        "memory": {
            "total": total,
            "fullest": found.fullest,
            "parts": dataclasses.asdict(found.peak),
            "moments": {name: parts.total for name, parts in found.moments.items()},
            "activations": {"kept": kept.moments["gradients"].activations, "checkpointed": again.moments["gradients"].activations},
            "fits": total <= target.memory_bytes,
            "change": dataclasses.asdict(change) if change else None,
        },
        "time": _time(recipe, target, dataset, planned, quick),
    }


def _warnings(dataset: Dataset, info: TokenizerInfo | None) -> list[str]:
    learned = {source: int(counts["learned_kept"]) for source, counts in dataset.manifest.get("tokens", {}).items()}
    return warnings(learned, None if info is None else text_bytes(dataset, info))


def _time(recipe: Recipe, target: Target, dataset: Dataset | None, planned: Plan | None, quick: bool) -> dict[str, Any]:
    """What a few steps took and what the run would take, or why that is not known."""
    from pipeline.training import at_hand, model, timing

    if dataset is None or planned is None:
        return {"unknown": "there are no rows yet; run: make tokenize"}
    if quick:
        return {"unknown": "no step was run (--quick)"}
    if not at_hand.is_ready(recipe):
        return {"unknown": "the base model's weights are not here"}
    if target.on_gpu != (model.device() == "cuda") or not target.name.startswith("this machine"):
        return {"unknown": f"steps can be timed on this machine only, not on {target.name}"}
    try:
        found = timing.measure(recipe, dataset.folder)
    except ChildProcessError as error:
        return {"unknown": f"the steps failed: {error}"}
    seconds = found.step * planned.steps + (found.validation_row or 0.0) * planned.evaluated_rows
    return {"seconds": seconds, **dataclasses.asdict(found)}


def _modules(recipe: Recipe, dataset: Dataset | None) -> dict[str, Any]:
    from pipeline.training import at_hand, modules, shape

    info = at_hand.tokenizer(recipe, _tokens_folder(dataset))
    found = modules.modules(shape.read_config(recipe.base_model, recipe, info))
    save = modules.save_line(found, None if info is None else info.tokenizer.get_vocab_size(with_added_tokens=True))
    return {**dataclasses.asdict(found), "save": save, "lines": _module_lines(recipe, found, save)}


def _module_lines(recipe: Recipe, found: Any, save: str) -> list[str]:
    rows = [["linear layer", "count", "inputs x outputs", "weights", "share"]]
    for layers in found.linear:
        shapes = ", ".join(f"{inputs:,} x {outputs:,}" for inputs, outputs in layers.shapes)
        tied = " (tied to the embeddings)" if found.tied and layers.name == found.output else ""
        rows.append([layers.name, str(layers.count), shapes, f"{layers.weights:,}", f"{layers.weights / found.weights:.1%}{tied}"])
    return [
        f"{recipe.base_model}: {found.weights:,} weights in {found.num_layers} layers",
        f"hidden size {found.hidden_size:,}, vocabulary {found.vocabulary:,}",
        *(f"  {line}" for line in table(rows)),
        f"lora_target_modules: [{', '.join(found.targets)}]",
        "  all linear layers but the output, the same as lora_target_linear: true (QLoRA: this matters more than the rank)",
        save,
    ]


def _page(answer: Mapping[str, Any]) -> list[str]:
    target, memory, planned, timed = answer["target"], answer["memory"], answer["plan"], answer["time"]
    lines = [f"estimate: {answer['recipe']['base_model']}, {answer['recipe']['adapter']}, {target['precision']} on {target['name']}"]
    if planned is not None:
        share = f"{planned['supervised_share']:.1%}"
        lines += [
            f"  {planned['steps']:,} steps = {planned['epochs']:.3g} epochs of {planned['rows']:,} rows",
            f"  {planned['tokens_per_step']:,.0f} tokens a step, {planned['supervised_per_step']:,.0f} supervised ({share})",
            f"  {planned['evaluations']:,} evaluations of {planned['validation_rows']:,} validation rows",
        ]
    lines += [f"time: {_time_line(timed)}"]
    lines += [f"memory: {_size(memory['total'])} of {_size(target['memory_bytes'])}, fullest at: {memory['fullest']}"]
    lines += [f"  {name:<12} {_size(size):>10}" for name, size in memory["parts"].items() if size]
    kept, again = memory["activations"]["kept"], memory["activations"]["checkpointed"]
    lines.append(f"  activations: {_size(kept)} kept, {_size(again)} with gradient_checkpointing")
    if "peak_bytes" in timed and not target["on_gpu"]:
        lines.append(f"  measured over these steps: {_size(timed['peak_bytes'])} ({memory['total'] / timed['peak_bytes'] - 1:+.1%} estimated)")
    lines += _fit_lines(memory)
    if answer["learning_rate"]:
        lines += ["learning rate, by base_lr * sqrt(supervised tokens a step / tokens of a pretraining batch):"]
        lines += [f"  {line}" for line in answer["learning_rate"]]
    return lines + [f"warning: {line}" for line in answer["warnings"]]


def _fit_lines(memory: Mapping[str, Any]) -> list[str]:
    if memory["fits"]:
        return ["  it fits"]
    change: dict[str, Any] | None = memory["change"]
    if change is None:
        return ["  it does not fit, and no change known here makes it: take a smaller model or more memory"]
    settings = " ".join(f"--set {name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in change["settings"].items())
    return [f"  it does not fit; with {settings} it takes {_size(change['total'])}"]


def _time_line(timed: Mapping[str, Any]) -> str:
    if "unknown" in timed:
        return f"not known: {timed['unknown']}"
    row = f", {timed['validation_row']:.2g} s a validation row" if timed["validation_row"] is not None else ""
    return f"about {_duration(timed['seconds'])} ({timed['step']:.2g} s a step{row})"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes > 1 else f"{seconds:.0f} s"


def _size(size: int) -> str:
    return f"{size / _GIB:,.2f} GiB" if size >= _GIB else f"{size / _MIB:,.0f} MiB"
