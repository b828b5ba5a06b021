"""python -m pipeline.benchmarks.adapter_loss RECIPE TOKENS [ADAPTER]: mean loss over the validation rows, the same for whoever trained.

Prints one line of JSON: nats a supervised token, and how many tokens there were. Without ADAPTER the base model is measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(given: Sequence[str]) -> None:
    """Load the base as it is trained on, with the adapter over it, and measure."""
    from pipeline.models import load_tokenizer
    from pipeline.training.quiet import prepare_process, quiet_libraries
    from pipeline.training.recipe import read_recipe

    prepare_process()
    quiet_libraries()
    import torch
    from peft import PeftModel

    from pipeline.models import IGNORED
    from pipeline.training.collate import collate
    from pipeline.training.model import load_base, precision
    from pipeline.training.rows import open_rows

    recipe, tokens = read_recipe(Path(given[0])), Path(given[1])
    model = load_base(recipe.base_model, recipe, precision(recipe))
    if len(given) > 2:
        model = PeftModel.from_pretrained(model, given[2]).eval()
    rows = open_rows(tokens, recipe, load_tokenizer(recipe.base_model).fingerprint, Path("cache")).validation
    total, num_tokens = 0.0, 0
    for row in rows or ():
        batch = collate([row])
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            logits = model(**batch, use_cache=False).logits[:, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"))
        num_tokens += int((labels != IGNORED).sum())
    print(json.dumps({"loss": total / num_tokens, "tokens": num_tokens}))


if __name__ == "__main__":
    main(sys.argv[1:])
