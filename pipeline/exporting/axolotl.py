"""For axolotl: ``chat_template`` with a mask for each turn, and ``completion`` for plain text, in one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.exporting.conversations import LEARNED_ROLE, Carried, Row, fields, learned, need_learned, text_line
from pipeline.exporting.target import FOLDER, LEARNING_RATE, LORA_ALPHA, LORA_R, Target, file_name, to_yaml

CONFIG = "axolotl.yaml"


class Axolotl(Target):
    """Each message says itself, in ``train``, whether it is learned, so every mask is carried."""

    def carry(self, row: Row) -> Carried:
        """The conversation with ``train`` in each message, or the text."""
        if row["messages"] is None:
            return text_line(row)
        flags = learned(row["messages"], self.plan.learn)
        need_learned(flags)
        messages = [fields(message) | {"train": flag} for message, flag in zip(row["messages"], flags, strict=True)]
        return Carried("conversations", ({"messages": messages},))

    def files(self, written: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """One configuration for both kinds."""
        if not any("train" in splits for splits in written.values()):
            return {}
        validation = [_dataset("validation", kind) for kind, splits in written.items() if "validation" in splits]
        settings: dict[str, Any] = {
            "base_model": self.plan.model,
            "adapter": "qlora",
            "load_in_4bit": True,
            "lora_r": LORA_R,
            "lora_alpha": LORA_ALPHA,
            "lora_dropout": 0.0,
            "lora_target_linear": True,
            "datasets": [_dataset("train", kind) for kind, splits in written.items() if "train" in splits],
            **({"test_datasets": validation} if validation else {}),
            "dataset_prepared_path": "../axolotl-prepared",
            "sequence_len": self.plan.length,
            "sample_packing": False,
            "train_on_inputs": False,
            "micro_batch_size": 1,
            "gradient_accumulation_steps": 8,
            "num_epochs": 1,
            "optimizer": "adamw_torch",
            "lr_scheduler": "cosine",
            "learning_rate": LEARNING_RATE,
            "bf16": "auto",
            "seed": 42,
            "output_dir": "../axolotl-run",
        }
        return {CONFIG: to_yaml(f"Run here: axolotl train {CONFIG}", settings)}

    def commands(self, written: Mapping[str, Sequence[str]]) -> list[str]:
        """The one that trains."""
        return [f"axolotl train {CONFIG}"]


def _dataset(split: str, kind: str) -> dict[str, Any]:
    file = {"path": f"{FOLDER}/{file_name(split, kind)}", "ds_type": "json", "split": "train"}  # "train" is how a file of its own is called
    if kind == "text":
        return file | {"type": "completion", "field": "text"}
    return file | {
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "message_field_training": "train",
        "roles_to_train": [LEARNED_ROLE],
        "train_on_eos": "turn",
    }
