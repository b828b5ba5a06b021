"""Run by a Python of its own: TRL's SFTTrainer on rows that are packed already. Arguments: MODEL ROWS OUTPUT qlora|lora SETTINGS.

ROWS is an Arrow file with ``input_ids``, ``labels`` and ``sequence_lengths``; SETTINGS is JSON in the recipe's key names. The adapter is
written to OUTPUT.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main(model_folder: str, source: str, target: str, adapter: str, settings: dict[str, Any]) -> None:
    """Train on the rows as they are: the collator takes the borders of sequences from their lengths, as after TRL's own packing."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    quantization = BitsAndBytesConfig(load_in_4bit=True, **nf4) if adapter == "qlora" else None
    model = AutoModelForCausalLM.from_pretrained(model_folder, quantization_config=quantization, dtype=torch.bfloat16, attn_implementation="sdpa")
    rows = Dataset.from_file(source).select_columns(["input_ids", "labels", "sequence_lengths"]).rename_column("sequence_lengths", "seq_lengths")
    config = SFTConfig(
        output_dir=target,
        max_steps=settings["max_steps"],
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=settings["warmup_steps"],
        max_grad_norm=settings["max_grad_norm"],
        gradient_checkpointing=settings["gradient_checkpointing"],
        seed=settings["seed"],
        data_seed=settings["seed"],
        bf16=True,
        use_cpu=True,
        packing=False,
        padding_free=True,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=settings["lora_r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora)
    trainer.train()
    trainer.save_model(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.argv[5]))
