"""One training run from a recipe and committed rows of tokens to an adapter or a model, its curves and samples. Loads torch only when called."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.commits import writing
from pipeline.errors import GristmillError, MissingPackageError, UsageError
from pipeline.models import TokenizerInfo, load_tokenizer, tokenizer_files
from pipeline.progress import Progress
from pipeline.training import document_losses, metrics
from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.recipe import Precision, Recipe, as_yaml
from pipeline.training.trained import RECIPE, made_by
from pipeline.training.with_base import with_base

SAMPLES = "samples.md"
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")


@dataclass(frozen=True)
class Summary:
    """How a run went. Losses are mean nats a supervised token over the validation rows, None when there are none.

    ``base_loss`` is the untrained model's, in 4 bits where it is trained so; ``final_loss`` is that of what was written.
    ``tokens`` counts what was trained on, repetitions and filling included; ``seconds`` and ``peak_bytes`` (of main memory) are those of
    this process alone.
    """

    base_loss: float | None
    final_loss: float | None
    steps: int
    tokens: int
    seconds: float
    peak_bytes: int
    precision: Precision


def run_training(
    recipe: Recipe, tokens: Path, out: Path, model_folder: Path | str, log: Callable[[str], None], progress: Progress | None = None
) -> Summary:
    """Train ``recipe`` on the committed dataset ``tokens`` and write into the folder ``out``; called again, it goes on where it stopped.

    ``model_folder``: the base model as a folder, or a Hub id; ``progress``: whose bar shows the steps. Writes ``adapter/``, or ``model/`` with
    ``adapter: none``, ``recipe.yaml``, ``metrics.jsonl``, ``learning_curve.svg`` and ``.png``, ``diagnosis.json``, and ``samples.md`` when there
    are validation rows; ``checkpoints/`` is for resuming only. Under ``accelerate launch`` every process calls it, and one writes.
    Raises UsageError, DatasetError or GristmillError in one line.
    """
    started = time.monotonic()
    name, revision = recipe.tokenizer_beside(tokens) if recipe.tokenizer else str(model_folder), recipe.tokenizer_revision
    info = load_tokenizer(name, revision)
    prepare_process()
    try:
        quiet_libraries()
        from pipeline.training import diagnosis, loop, model, rows
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "training", "train") from error
    writes = loop.is_main_process()
    out.mkdir(parents=True, exist_ok=True)
    data = rows.open_rows(tokens, recipe, info.fingerprint, out / loop.CHECKPOINTS / "rows")
    wanted = model.precision(recipe)
    base = model.load_base(model_folder, recipe, wanted, info)
    model.fit_embeddings(base, info, recipe)
    recipe = dataclasses.replace(recipe, revision_of_model=getattr(base.config, "_commit_hash", None) or recipe.revision_of_model)
    if writes:
        _write_record(out / RECIPE, recipe, f"precision {wanted} on {model.device()}, tokens {data.digest[:16]}")
        for line in _circumstances(recipe, data, model.attention(recipe)):
            log(line)
    with _memory_errors():
        _train(base, recipe, data, out, wanted, info, tokenizer_files(name, revision), log if writes else _silent, progress)
    lines = metrics.read(out / loop.METRICS)
    if writes:
        from pipeline.training import curves  # matplotlib: not in memory while the model trains

        curves.draw(lines, f"{Path(recipe.base_model).name}, {recipe.adapter}", out)
        for line in diagnosis.record(lines, out):
            log(line)
    return _summary(lines, recipe, wanted, time.monotonic() - started)


def _train(
    base: Any,
    recipe: Recipe,
    data: Any,
    out: Path,
    wanted: Precision,
    info: TokenizerInfo,
    tokenizer: Mapping[str, Path],
    log: Callable[[str], None],
    progress: Progress | None,
) -> None:
    """Train the base, unless what was trained lies in ``out`` already, and write the samples."""
    from transformers import set_seed

    from pipeline.training import loop, model, samples

    is_whole = recipe.adapter == "none"
    before = samples.write_before(base, info, data.validation) if is_whole and data.validation is not None else None
    done = out / made_by(recipe)
    if done.is_dir():
        tuned = _reload(base, recipe, wanted, done)
    else:
        set_seed(recipe.seed)
        tuned = model.add_adapter(base, recipe)
        model.require_separation(tuned)
        num_weights = tuned.num_parameters(only_trainable=True)
        log(f"{len(data.train):,} rows of up to {recipe.sequence_len} tokens, {num_weights:,} weights to train, {wanted}")
        loop.train(tuned, recipe, data, out, wanted, log, tokenizer, progress)
    if data.validation is not None and loop.is_main_process():
        samples.write_samples(tuned, info, data.validation, out / SAMPLES, before)
    if loop.is_main_process():
        both = with_base(tuned, lambda: None)  # two whole models may not fit
        document_losses.write(both, data.splits, recipe, out, out / loop.CHECKPOINTS / "documents", log)


def _reload(base: Any, recipe: Recipe, wanted: Precision, done: Path) -> Any:
    """What an earlier run of this folder has trained."""
    from peft import PeftModel

    from pipeline.training.model import load_base

    if recipe.adapter == "none":
        return load_base(done, recipe.of_trained(), wanted)
    return PeftModel.from_pretrained(base, str(done))


def _circumstances(recipe: Recipe, data: Any, attends_with: str) -> Iterator[str]:
    """What a run says before it starts."""
    if recipe.max_steps and recipe.num_epochs:
        yield f"max_steps {recipe.max_steps} wins over num_epochs {recipe.num_epochs:g}"
    if recipe.flash_attention and attends_with == "sdpa":
        yield "flash_attention: the package flash-attn or a GPU is not there; PyTorch's own attention is used"
    if data.validation is None:
        yield "there are no validation rows: no validation loss, no early stopping, no samples"
    else:
        yield f"validation on {len(data.validation):,} rows" + (f" (eval_max_rows {recipe.eval_max_rows:,})" if recipe.eval_max_rows else "")


def _silent(line: str) -> None:
    """For the processes that do not write."""


def _write_record(path: Path, recipe: Recipe, circumstances: str) -> None:
    """Write the recipe as it is run, with what else decides the outcome as comments; it can be read as a recipe again.

    Raises UsageError when the folder was begun with anything else.
    """
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    header = f"# pipeline.training.recipe: as it was run\n# {circumstances}\n# Python {platform.python_version()}, {libraries}\n"
    text = header + as_yaml(recipe)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UsageError(str(path.parent), "was begun with another recipe, other tokens or other libraries", "remove it to start again")
    with writing(path) as file:
        file.write(text.encode())


@contextmanager
def _memory_errors() -> Iterator[None]:
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        todo = "lower micro_batch_size or sequence_len, or set gradient_checkpointing: true"
        raise GristmillError("memory", "there is not enough", todo) from error


def _summary(lines: list[metrics.Line], recipe: Recipe, wanted: Precision, seconds: float) -> Summary:
    losses = [line["eval_loss"] for line in metrics.evaluations(lines)]
    last = metrics.training(lines)[-1]
    return Summary(
        base_loss=losses[0] if losses else None,
        final_loss=(min(losses[1:]) if recipe.early_stopping_patience else losses[-1]) if losses else None,
        steps=last["step"],
        tokens=last["tokens"],
        seconds=seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        precision=wanted,
    )
