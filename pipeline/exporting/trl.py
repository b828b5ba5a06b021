"""For TRL's ``trl sft``: conversations with the assistant's turns learned, or prompt and completion where masks are finer than that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.exporting.conversations import LEARNED_ROLE, CannotHoldError, Carried, Row, fields, learned, need_learned, text_line
from pipeline.exporting.target import FOLDER, LEARNING_RATE, LORA_ALPHA, LORA_R, Target, to_yaml


class Trl(Target):
    """TRL has no mask for single turns of ``messages``: it learns all of the assistant's (``assistant_only_loss``), or a ``completion``.

    So each learned turn becomes a line of its own: ``prompt`` is all before it, ``completion`` the turn. What is learned is the same, at the
    price of context that is read again for each turn. ``messages`` are written when the plan says so: for chat templates that mark the
    assistant's turns, or that TRL has a marked form of, and for conversations that learn exactly those turns.
    Documents of plain text go into a file and a configuration of their own: TRL takes one form a run.
    """

    def carry(self, row: Row) -> Carried:
        """A line for each learned turn, or the whole conversation; or the text."""
        if row["messages"] is None:
            return text_line(row)
        flags = learned(row["messages"], self.plan.learn)
        need_learned(flags)
        messages = [fields(message) for message in row["messages"]]
        if self.plan.messages:
            if flags != [message["role"] == LEARNED_ROLE for message in messages]:
                raise CannotHoldError("its masks are not 'all turns of the assistant', which is all that TRL's messages can say")
            return Carried("conversations", ({"messages": messages},))
        lines: list[dict[str, Any]] = []
        lost: list[tuple[int, str]] = []
        for number, message in enumerate(messages):
            if flags[number] and not number:
                lost.append((number, "nothing stands before it, and TRL learns no turn without a prompt; it is context of the others"))
            elif flags[number] and message["role"] != LEARNED_ROLE:
                lost.append((number, f"TRL learns the assistant's turns, not those of {message['role']!r}"))
            elif flags[number]:
                lines.append({"prompt": messages[:number], "completion": [message]})
        if not lines:
            raise CannotHoldError(lost[0][1].partition(";")[0])
        return Carried("conversations", tuple(lines), tuple(lost))

    def files(self, written: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """A configuration for each kind."""
        return {self._config_name(kind): self._config(kind, splits) for kind, splits in written.items() if "train" in splits}

    def commands(self, written: Mapping[str, Sequence[str]]) -> list[str]:
        """One for each kind."""
        return [f"trl sft --config {self._config_name(kind)}" for kind in written]

    def notes(self) -> list[str]:
        """Which form conversations have."""
        if self.plan.messages:
            return ["conversations are 'messages': the model's chat template must mark the assistant's turns, or be one that TRL knows"]
        return ["each learned turn is a line of 'prompt' and 'completion'"]

    def _config_name(self, kind: str) -> str:
        return f"sft.{kind}.yaml"

    def _config(self, kind: str, splits: Sequence[str]) -> str:
        settings = {
            "model_name_or_path": self.plan.model,
            "dataset_name": f"./{FOLDER}",
            "dataset_config": kind,
            "dataset_train_split": "train",
            **({"dataset_test_split": "validation", "eval_strategy": "epoch"} if "validation" in splits else {"eval_strategy": "no"}),
            **({"assistant_only_loss": True} if kind == "conversations" and self.plan.messages else {}),
            **({"completion_only_loss": True} if kind == "conversations" and not self.plan.messages else {}),
            "max_length": self.plan.length,
            "packing": False,
            "use_peft": True,
            "load_in_4bit": True,
            "lora_r": LORA_R,
            "lora_alpha": LORA_ALPHA,
            "lora_target_modules": "all-linear",
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 8,
            "num_train_epochs": 1,
            "learning_rate": LEARNING_RATE,
            "seed": 42,
            "output_dir": f"../trl-{kind}",
        }
        return to_yaml(f"Run here: trl sft --config {self._config_name(kind)}", settings)
