"""A training recipe: one frozen dataclass whose fields carry axolotl's key names. Reads without torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.settings import at_least, between, build, override, read_yaml

TRAIN_TOKENIZER = "train"
"""In place of a tokenizer's name: one is trained on the documents, as ``own_tokenizer`` of stages/tokenize.yaml says."""

OWN_NAME, OWN_FOLDER = "own", "tokenizer"
"""What such a tokenizer is called, and the folder of the token set that holds it."""

Precision = Literal["bf16", "fp16", "fp32"]
"""What matrices are multiplied in; sums, norms, adapter and optimizer stay in fp32."""


@dataclass(frozen=True)
class Quantization:
    """How the frozen base is held in 4 bits: the keys that transformers passes on to bitsandbytes."""

    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    """NF4 has its levels at the quantiles of a normal distribution, as weights have (Dettmers et al. 2023, section 3)."""

    bnb_4bit_use_double_quant: bool = True
    """Quantize the scales as well: 4.127 instead of 4.5 bits a weight (same paper)."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, on rows of which tokenizer and length, and how. Names and meanings are axolotl's."""

    base_model: str
    """A folder, or a Hub id ``owner/name``."""

    revision_of_model: str | None = None
    """Branch, tag or commit of a Hub id; what it resolved to is written into the run's own copy of the recipe."""

    tokenizer: str | None = None
    """A folder, a tokenizer.json or a Hub id; by default the model's own. ``train``: one trained on the documents (a folder called
    train is ./train)."""

    adapter: Literal["qlora", "lora"] = "qlora"
    """``qlora``: LoRA on a base held in 4 bits. ``lora``: LoRA on a base as it is stored."""

    load_in_4bit: bool | None = None
    """Follows from ``adapter``; may be written out, as axolotl's files do."""

    bnb_config_kwargs: Quantization = field(default_factory=Quantization)

    lora_r: int = at_least(16, 1)
    lora_alpha: int = at_least(32, 1)
    """The adapter's output is scaled by alpha / r; twice the rank is usual."""

    lora_dropout: float = between(0.0, 0.0, 0.9)

    lora_target_modules: tuple[str, ...] = ()
    """Names of the linear layers to adapt, such as q_proj; empty: every linear layer but the output (``lora_target_linear``)."""

    lora_target_linear: bool | None = None
    """Adapt every linear layer; QLoRA found this to matter more than the rank (Dettmers et al. 2023, figure 2)."""

    sequence_len: int = at_least(512, 8)
    """Tokens a row; part of the name of the tokens' folder."""

    micro_batch_size: int = at_least(1, 1)
    """Rows a forward pass."""

    gradient_accumulation_steps: int = at_least(1, 1)
    """Forward passes a step; the step's loss is the mean over all supervised tokens of these."""

    num_epochs: float | None = at_least(None, 0.01)
    """Passes over the training rows, 1 when ``max_steps`` is not set either."""

    max_steps: int | None = at_least(None, 1)
    """Wins over ``num_epochs``."""

    optimizer: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"] = "adamw_torch"
    adam_beta2: float = between(0.999, 0.0, 1.0)
    adam_epsilon: float = between(1e-8, 0.0, 1.0)
    max_grad_norm: float = at_least(1.0, 0.0)
    """Gradients are scaled down to this norm; 0 leaves them as they are."""

    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    learning_rate: float = between(2e-4, 0.0, 1.0)
    """2e-4 is what QLoRA used up to 13B parameters (Dettmers et al. 2023, table 9)."""

    warmup_ratio: float = between(0.0, 0.0, 0.99)
    """Share of all steps in which the learning rate rises from 0."""

    warmup_steps: int = at_least(0, 0)
    weight_decay: float = between(0.0, 0.0, 1.0)
    gradient_checkpointing: bool = False
    """Compute activations a second time instead of keeping them: less memory, about a third more time."""

    bf16: Literal["auto"] | bool = "auto"
    """``auto``: bf16 where the hardware is fast in it (GPUs from Ampere on, CPUs with AVX512-BF16 or AMX), else fp16 on GPU, else fp32."""

    fp16: bool = False
    eval_steps: int | None = at_least(None, 1)
    """Steps between two evaluations; always before the first and after the last step as well."""

    eval_max_rows: int | None = at_least(None, 1)
    """Validate on this many rows of the split at most (they stand shuffled); ours, axolotl has no such key. None: all of them."""

    save_steps: int | None = at_least(None, 1)
    """Steps between two checkpoints to resume from; with early stopping each evaluation saves one."""

    logging_steps: int = at_least(1, 1)
    early_stopping_patience: int | None = at_least(None, 1)
    """Stop after this many evaluations in a row without a new best one, and keep the adapter of the best."""

    seed: int = at_least(42, 0)

    def __post_init__(self) -> None:
        if self.load_in_4bit is not None and self.load_in_4bit != (self.adapter == "qlora"):
            raise ValueError(f"load_in_4bit: {str(self.load_in_4bit).lower()} contradicts adapter: {self.adapter}; leave load_in_4bit out")
        if self.lora_target_modules and self.lora_target_linear:
            raise ValueError("lora_target_modules and lora_target_linear are both set; keep one")
        if self.lora_target_linear is False and not self.lora_target_modules:
            raise ValueError("lora_target_linear: false leaves nothing to adapt; name lora_target_modules")
        if self.bf16 is True and self.fp16:
            raise ValueError("bf16 and fp16 are both true; keep one, or bf16: auto")
        if self.warmup_ratio and self.warmup_steps:
            raise ValueError("warmup_ratio and warmup_steps are both set; keep one")
        if self.early_stopping_patience and not self.eval_steps:
            raise ValueError("early_stopping_patience counts evaluations; set eval_steps too")

    @property
    def tokenizer_name(self) -> str:
        """What to load the tokenizer from."""
        return self.tokenizer or self.base_model

    @property
    def tokenizer_revision(self) -> str | None:
        """At which revision to load it, when it is a Hub id."""
        return self.revision_of_model if self.tokenizer is None else None

    @property
    def trains_tokenizer(self) -> bool:
        """Whether the tokenizer is trained on the documents that are tokenized, and lies with their tokens."""
        return self.tokenizer == TRAIN_TOKENIZER

    def tokenizer_beside(self, tokens: Path) -> str:
        """What to load the tokenizer of a token set from: its own folder where it was trained there."""
        return str(tokens / OWN_FOLDER) if self.trains_tokenizer else self.tokenizer_name

    @property
    def tokens_name(self) -> str:
        """``<tokenizer>-<sequence_len>``: the folder under data/tokens whose rows this recipe trains on."""
        if self.trains_tokenizer:
            return f"{OWN_NAME}-{self.sequence_len}"
        path = Path(self.tokenizer_name)
        last = path.parent.name if path.name == "tokenizer.json" else path.name
        slug = re.sub(r"[^a-z0-9._]+", "-", last.lower()).strip("-.")
        return f"{slug or 'tokenizer'}-{self.sequence_len}"

    @property
    def precision_wanted(self) -> Precision | None:
        """What the recipe asks for outright; None leaves it to the hardware."""
        if self.fp16:
            return "fp16"
        if self.bf16 == "auto":
            return None
        return "bf16" if self.bf16 else "fp32"

    @property
    def warmup(self) -> float:
        """As transformers takes it: below 1 a share of all steps, else a number of steps."""
        return float(self.warmup_steps or self.warmup_ratio)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe at ``path`` with ``key=value`` settings put over it; raises SettingsError with every problem."""
    return build(Recipe, override(read_yaml(path), overrides))
