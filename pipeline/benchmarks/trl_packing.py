"""Run by a Python of its own: a fast tokenizer through ``datasets.map``, then TRL's packing. Arguments: INPUT TOKENIZER OUTPUT LENGTH.

Prints one line of JSON: CPU seconds until everything is imported, rows, tokens, and the share of the rows' room that they fill.
"""

from __future__ import annotations

import json
import sys
import time


def main(source: str, tokenizer_folder: str, target: str, length: int) -> None:
    """Read Parquet, tokenize in batches in this process, end each text, pack best-fit decreasing, write Arrow."""
    from datasets import load_dataset  # type: ignore[import-untyped,unused-ignore]
    from transformers import AutoTokenizer
    from trl import pack_dataset  # type: ignore[import-not-found]

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    imported = time.process_time()

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        ids = tokenizer(batch["text"], add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return {"input_ids": [[*one, tokenizer.eos_token_id] for one in ids]}

    texts = load_dataset("parquet", data_files=f"{source}/*.parquet", split="train", cache_dir=f"{target}/cache")
    packed = pack_dataset(texts.map(encode, batched=True, remove_columns=texts.column_names), length, strategy="bfd")
    packed.save_to_disk(f"{target}/rows")
    tokens = sum(map(sum, packed["seq_lengths"]))
    print(json.dumps({"start": imported, "rows": len(packed), "tokens": tokens, "utilisation": tokens / (len(packed) * length)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
