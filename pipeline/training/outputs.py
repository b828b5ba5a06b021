"""What a run leaves: an adapter as plain peft files, or a whole model with its tokenizer; each folder appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.training.checkpoints import sync
from pipeline.training.recipe import Recipe


def save_adapter(model: Any, recipe: Recipe, folder: Path) -> None:
    """Write the adapter; it names the base model as the recipe does."""
    with _whole(folder) as partial:
        model.save_pretrained(str(partial), save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)  # a form to fill in
        path = partial / "adapter_config.json"
        config = json.loads(path.read_text())
        for name in ("target_modules", "modules_to_save"):
            if isinstance(config[name], list):
                config[name].sort()  # peft writes a set
        config |= {"base_model_name_or_path": recipe.base_model, "revision": recipe.revision_of_model}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_model(model: Any, tokenizer: Mapping[str, Path], folder: Path) -> None:
    """Write a model that was trained whole, in the precision it was trained in, with the files of its tokenizer."""
    with _whole(folder) as partial:
        model.config.use_cache = True  # off for training alone
        model.config.name_or_path = folder.name
        model.save_pretrained(str(partial))
        model.config.use_cache = False
        for name, path in tokenizer.items():
            shutil.copyfile(path, partial / name)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    yield partial
    for path in partial.glob("*"):
        path.chmod(0o644)  # safetensors keeps others out
    sync(partial)
    partial.rename(folder)
