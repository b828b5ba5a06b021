"""One training run from a recipe and committed rows of tokens to an adapter, its curves and samples. Loads torch only when called."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

from pipeline.commits import writing
from pipeline.errors import GristmillError, MissingPackageError, UsageError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.settings import to_plain
from pipeline.training import metrics
from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.recipe import Precision, Recipe

RECIPE, SAMPLES = "recipe.yaml", "samples.md"
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")


@dataclass(frozen=True)
class Summary:
    """How a run went. Losses are mean nats a supervised token over the validation rows, None when there are none.

    ``base_loss`` is the untrained model's, in 4 bits where it is trained so; ``final_loss`` is that of the adapter that was written.
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


def run_training(recipe: Recipe, tokens: Path, out: Path, model_folder: Path | str, log: Callable[[str], None]) -> Summary:
    """Train ``recipe`` on the committed dataset ``tokens`` and write into the folder ``out``; called again, it goes on where it stopped.

    ``model_folder``: the base model as a folder, or a Hub id. Writes ``adapter/``, ``recipe.yaml``, ``metrics.jsonl``,
    ``learning_curve.svg`` and ``.png``, and ``samples.md`` when there are validation rows; ``checkpoints/`` is for resuming only.
    Raises UsageError, DatasetError or GristmillError in one line.
    """
    started = time.monotonic()
    info = load_tokenizer(recipe.tokenizer_beside(tokens) if recipe.tokenizer else str(model_folder), recipe.tokenizer_revision)
    prepare_process()
    try:
        quiet_libraries()
        from peft import PeftModel
        from transformers import set_seed

        from pipeline.training import curves, loop, model, rows, samples
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "training", "train") from error
    out.mkdir(parents=True, exist_ok=True)
    data = rows.open_rows(tokens, recipe, info.fingerprint, out / loop.CHECKPOINTS / "rows")
    wanted = model.precision(recipe)
    base = model.load_base(model_folder, recipe, wanted)
    _check_vocabulary(info, base.get_input_embeddings().num_embeddings)
    recipe = dataclasses.replace(recipe, revision_of_model=getattr(base.config, "_commit_hash", None) or recipe.revision_of_model)
    _write_record(out / RECIPE, recipe, f"precision {wanted} on {model.device()}, tokens {data.digest[:16]}")
    if recipe.max_steps and recipe.num_epochs:
        log(f"max_steps {recipe.max_steps} wins over num_epochs {recipe.num_epochs:g}")
    if data.validation is None:
        log("there are no validation rows: no validation loss, no early stopping, no samples")
    else:
        log(f"validation on {len(data.validation):,} rows" + (f" (eval_max_rows {recipe.eval_max_rows:,})" if recipe.eval_max_rows else ""))
    with _memory_errors():
        if (out / loop.ADAPTER).is_dir():
            tuned = PeftModel.from_pretrained(base, str(out / loop.ADAPTER))
        else:
            set_seed(recipe.seed)
            tuned = model.add_adapter(base, recipe)
            model.require_separation(tuned)
            num_weights = tuned.num_parameters(only_trainable=True)
            log(f"{len(data.train):,} rows of up to {recipe.sequence_len} tokens, {num_weights:,} weights to train, {wanted}")
            loop.train(tuned, recipe, data, out, wanted, log)
        if data.validation is not None:
            samples.write_samples(tuned, info, data.validation, out / SAMPLES)
    lines = metrics.read(out / loop.METRICS)
    curves.draw(lines, f"{Path(recipe.base_model).name}, {recipe.adapter}", out)
    return _summary(lines, recipe, wanted, time.monotonic() - started)


def _check_vocabulary(info: TokenizerInfo, num_embeddings: int) -> None:
    size = info.tokenizer.get_vocab_size(with_added_tokens=True)
    if size > num_embeddings:
        raise UsageError(info.where, f"has {size:,} tokens, but the base model embeds {num_embeddings:,}", "take a tokenizer made for the base model")


def _write_record(path: Path, recipe: Recipe, circumstances: str) -> None:
    """Write the recipe as it is run, with what else decides the outcome as comments; it can be read as a recipe again.

    Raises UsageError when the folder was begun with anything else.
    """
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    settings = {key: value for key, value in to_plain(recipe).items() if value not in (None, [])}
    header = f"# pipeline.training.recipe: as it was run\n# {circumstances}\n# Python {platform.python_version()}, {libraries}\n"
    text = header + str(yaml.safe_dump(settings, sort_keys=False))
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
