"""A tokenizer trained on the documents that are tokenized: a byte-level BPE (Sennrich et al. 2016, on bytes as in Radford et al. 2019).

The ``tokenizers`` library trains. What it gives does not depend on the order of the texts or the number of threads: it counts words
first, and ties between pairs of tokens are broken by their ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.datasets import read_batches
from pipeline.documents import turns
from pipeline.errors import SettingsError
from pipeline.models import dump, write_folder
from pipeline.packing.sandbox import TemplateError
from pipeline.packing.settings import CHATML, OwnTokenizer
from pipeline.packing.split import split_hashes
from pipeline.packing.template import ChatTemplate

CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\n"
)

FILES = ("chat_template.jinja", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json")

WORD_CHARS = 64
"""A longer run without white space is learned from in pieces, and white space beyond so many characters is left out: the time that a merge
takes grows with the words that hold its pair, so one megabyte without a blank would take hours."""

PIECE_CHARS = 1 << 16
"""The trainer holds 256 pieces of text at once."""

_SPACE = r"\s\v\x{85}\p{Z}"
"""What Unicode counts as white space (White_Space), as the pre-tokenizer does."""

_LONG_WORD, _LONG_SPACE = rf"([^{_SPACE}]{{{WORD_CHARS}}})", rf"([{_SPACE}]{{{WORD_CHARS}}})[{_SPACE}]+"
_COLUMNS = ("id", "group", "text", "messages")


@dataclass(frozen=True)
class Sample:
    """Which documents a tokenizer learns from: those whose group's hash is ``lowest`` or more.

    The splits for validation and test take the lowest hashes, so none of theirs is among them (but for the groups that a source with few
    of them gives up).
    """

    seed: int
    lowest: int

    def texts(self, shards: Sequence[Path]) -> Iterator[pa.LargeStringArray]:
        """What the documents of the shards say, one array a batch."""
        for shard in shards:
            for batch in read_batches(shard, _COLUMNS, max_rows=512):
                hashes = split_hashes(pc.coalesce(batch.column("group"), batch.column("id")), self.seed)
                yield turns(batch.filter(pa.array(hashes >= np.uint64(self.lowest)))).content

    def num_bytes(self, shard: Path) -> int:
        """Bytes of text (UTF-8) that the sample has of a shard."""
        return sum(pc.sum(pc.binary_length(texts)).as_py() or 0 for texts in self.texts([shard]))


def training_part(seed: int, held_out: float) -> Sample:
    """All documents that are not held out for validation or test, a share of ``held_out`` together."""
    return Sample(seed, min(int(held_out * 2**64), 2**64 - 1))


def smaller(whole: Sample, num_bytes: int, max_bytes: int) -> Sample:
    """The part of a sample of ``num_bytes`` that comes to about ``max_bytes``; all documents where the sample is empty."""
    if not num_bytes:
        return Sample(whole.seed, 0)
    return Sample(whole.seed, 2**64 - (2**64 - whole.lowest) * min(max_bytes, num_bytes) // num_bytes)


def train_tokenizer(texts: Iterator[pa.LargeStringArray], settings: OwnTokenizer) -> Tokenizer:
    """Learn the merges from texts. All 256 bytes have a token, so any text comes back from its ids."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if settings.split_digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    controls = settings.controls
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in controls],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_pieces(texts, round(2 * settings.sample_mb * 1e6)), trainer)
    return tokenizer


def _pieces(texts: Iterator[pa.LargeStringArray], max_bytes: int) -> Iterator[str]:
    """The texts without endless words and white space, in pieces of bounded size; no more after ``max_bytes`` of text, give or take a batch."""
    for batch in texts:
        if max_bytes < 0:
            return
        max_bytes -= pc.sum(pc.binary_length(batch)).as_py() or 0
        cut = pc.replace_substring_regex(batch, _LONG_WORD, r"\1" + "\n")
        for text in pc.replace_substring_regex(cut, _LONG_SPACE, r"\1").to_pylist():
            yield from (text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS))


def chat_template(settings: OwnTokenizer) -> str | None:
    """The text of the chat template; raises SettingsError when its file cannot be read or is no template."""
    if settings.chat_template is None or settings.chat_template == CHATML:
        return CHATML_TEMPLATE if settings.chat_template else None
    where = f"own_tokenizer.chat_template: {settings.chat_template}"
    try:
        text = Path(settings.chat_template).read_text(encoding="utf-8")
        ChatTemplate(text, settings.named_tokens, {token: number for number, token in enumerate(settings.controls)})
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError([f"{where} cannot be read ({reason}); name a Jinja file, or write chatml"]) from None
    except TemplateError as error:
        raise SettingsError([f"{where} is not a chat template ({error}); mend it, or write chatml"]) from None
    return text


def write_trained(out: Path, tokenizer: Tokenizer, settings: OwnTokenizer, template: str | None) -> list[str]:
    """Write the tokenizer as a folder that ``load_tokenizer`` and transformers read; gives the names of its files."""
    named = settings.named_tokens
    config: Mapping[str, Any] = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "additional_special_tokens": [token for token in settings.controls if token not in named.values()],
        **named,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    texts = (template, dump(named), dump(config), tokenizer.to_str(pretty=True) + "\n")
    files = {name: text for name, text in zip(FILES, texts, strict=True) if text is not None}
    write_folder(out, files)
    return list(files)


def shortfall(size: int, wanted: int, min_frequency: int) -> list[str]:
    """What to say of a vocabulary that came out smaller than was wanted."""
    if size >= wanted:
        return []
    why = f"no further pair stands in it {min_frequency:,} times or more"
    return [f"own tokenizer: {wanted:,} tokens were wanted, the sample supports {size:,}: {why}"]
