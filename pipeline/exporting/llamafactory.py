"""For LLaMA-Factory: conversations in its ShareGPT form for ``sft``, plain text for ``pt``, and ``dataset_info.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.exporting.conversations import CannotHoldError, Carried, Row, fields, learned, need_learned, text_line
from pipeline.exporting.target import FOLDER, LEARNING_RATE, LORA_ALPHA, LORA_R, Target, file_name, to_yaml

TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
INFO = f"{FOLDER}/dataset_info.json"
STAGES = {"conversations": "sft", "text": "pt"}
_NAMES = {"user": "human", "assistant": "gpt", "tool": "observation"}
_ASKS, _ANSWERS = ("human", "observation"), ("gpt", "function_call")
_CALLS = "tool_calls"


class LlamaFactory(Target):
    """LLaMA-Factory learns all answers of a conversation, or with ``mask_history`` the last one, and wants question and answer in turn.

    Where in all conversations exactly the assistant's turns are learned, a conversation is one line. Else each learned turn ends a line of
    its own and ``mask_history`` is set: what is learned is the same. What stands after the last learned turn is left away.
    """

    def carry(self, row: Row) -> Carried:
        """The conversation up to its last learned turn, or a line for each; or the text."""
        if row["messages"] is None:
            return text_line(row)
        flags = learned(row["messages"], self.plan.learn)
        need_learned(flags)
        turns, lost = _turns(row["messages"])
        first = 1 if turns and turns[0]["from"] == "system" else 0
        ends = [number for number, turn in enumerate(turns) if flags[number] and turn["from"] in _ANSWERS]
        lost += [
            (number, f"LLaMA-Factory does not learn {turns[number]['from']!r}") for number, flag in enumerate(flags) if flag and number not in ends
        ]
        if not ends:
            raise CannotHoldError("no answer of it is learned")
        _check_order(turns[first : ends[-1] + 1])
        chosen = ends[-1:] if self.plan.survey.by_role else ends
        lines = tuple({"conversations": turns[: end + 1]} for end in chosen)
        return Carried("conversations", lines, tuple(sorted(lost)))

    def files(self, written: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """``dataset_info.json`` and a configuration for each kind."""
        info = {_name(split, kind): _info(split, kind) for kind, splits in written.items() for split in splits}
        configs = {f"{STAGES[kind]}.yaml": self._config(kind, splits) for kind, splits in written.items() if "train" in splits}
        return configs | {INFO: json.dumps(info, indent=1) + "\n"}

    def commands(self, written: Mapping[str, Sequence[str]]) -> list[str]:
        """One for each kind."""
        return [f"llamafactory-cli train {STAGES[kind]}.yaml" for kind in written]

    def notes(self) -> list[str]:
        """Which form conversations have, when it is not the plain one."""
        return [] if self.plan.survey.by_role else ["each learned turn ends a line of its own, and mask_history learns only that turn"]

    def _config(self, kind: str, splits: Sequence[str]) -> str:
        settings = {
            "model_name_or_path": self.plan.model,
            "stage": STAGES[kind],
            "do_train": True,
            "finetuning_type": "lora",
            "lora_target": "all",
            "lora_rank": LORA_R,
            "lora_alpha": LORA_ALPHA,
            "quantization_bit": 4,
            "quantization_method": "bnb",
            "dataset_dir": FOLDER,
            "dataset": _name("train", kind),
            **({"eval_dataset": _name("validation", kind), "eval_strategy": "epoch"} if "validation" in splits else {}),
            **({"mask_history": True} if kind == "conversations" and not self.plan.survey.by_role else {}),
            "cutoff_len": self.plan.length,
            "packing": False,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 8,
            "num_train_epochs": 1.0,
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "cosine",
            "bf16": True,
            "seed": 42,
            "output_dir": f"../llamafactory-{STAGES[kind]}",
        }
        return to_yaml(f"Run here: llamafactory-cli train {STAGES[kind]}.yaml", settings)


def _turns(messages: Sequence[Row]) -> tuple[list[dict[str, str]], list[tuple[int, str]]]:
    """The turns in ShareGPT's words, and the fields that it has no place for."""
    turns, lost = [], []
    for number, message in enumerate(messages):
        own = fields(message)
        calls = own.get(_CALLS)
        if number == 0 and own["role"] in ("system", "developer"):
            turns.append({"from": "system", "value": own["content"]})
        elif own["role"] not in _NAMES:
            raise CannotHoldError(f"turn {number} has the role {own['role']!r}, which LLaMA-Factory has only at the beginning or not at all")
        elif calls:
            if own["content"].strip():
                raise CannotHoldError(f"turn {number} both speaks and calls a tool")
            turns.append({"from": "function_call", "value": _calls(number, calls)})
        else:
            turns.append({"from": _NAMES[own["role"]], "value": own["content"]})
        lost += [(number, f"LLaMA-Factory has no place for the field {key!r}") for key in own if key not in ("role", "content", _CALLS)]
    return turns, lost


def _calls(number: int, calls: Any) -> str:
    """JSON of name and arguments of each call."""
    try:
        functions = [call.get("function", call) for call in calls]
        plain = [{"name": one["name"], "arguments": _arguments(one.get("arguments", {}))} for one in functions]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise CannotHoldError(f"turn {number} calls a tool in a form that is not OpenAI's") from None
    return json.dumps(plain, ensure_ascii=False)


def _arguments(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _check_order(turns: Sequence[Row]) -> None:
    for number, turn in enumerate(turns):
        wanted = _ANSWERS if number % 2 else _ASKS
        if turn["from"] not in wanted:
            raise CannotHoldError(f"question and answer do not alternate: {turn['from']!r} stands where one of {', '.join(wanted)} should")


def _name(split: str, kind: str) -> str:
    return f"{split}_{kind}"


def _info(split: str, kind: str) -> dict[str, Any]:
    file = {"file_name": file_name(split, kind)}
    if kind == "text":
        return file | {"columns": {"prompt": "text"}}
    return file | {"formatting": "sharegpt", "columns": {"messages": "conversations"}, "tags": TAGS}
