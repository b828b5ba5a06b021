"""A training recipe: one frozen dataclass whose fields carry axolotl's key names. Reads without torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.settings import at_least, between, build, override, read_yaml, to_plain
from pipeline.training.axolotl import in_our_words

TRAIN_TOKENIZER = "train"
"""In place of a tokenizer's name: one is trained on the documents, as ``own_tokenizer`` of stages/tokenize.yaml says."""

OWN_NAME, OWN_FOLDER = "own", "tokenizer"
"""What such a tokenizer is called, and the folder of the token set that holds it."""

Precision = Literal["bf16", "fp16", "fp32"]
"""What matrices are multiplied in; sums, norms, trained weights and optimizer stay in fp32."""

Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adam",
    "sgd",
    "rmsprop",
    "adagrad",
    "adafactor",
    "lion_8bit",
    "lion_32bit",
    "paged_lion_8bit",
    "paged_lion_32bit",
]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts", "polynomial", "inverse_sqrt"]
Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]

TRACKING = (
    "report_to",
    "wandb_project",
    "wandb_entity",
    "wandb_name",
    "wandb_mode",
    "mlflow_tracking_uri",
    "mlflow_experiment_name",
    "mlflow_run_name",
    "trackio_project_name",
)
"""Keys that say where a run is watched: nothing that is learned depends on them, so they stand neither in its digest nor in its record."""


@dataclass(frozen=True)
class Quantization:
    """How the frozen base is held in 4 bits: the keys that transformers passes on to bitsandbytes."""

    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    """NF4 has its levels at the quantiles of a normal distribution, as weights have (Dettmers et al. 2023, section 3)."""

    bnb_4bit_use_double_quant: bool = True
    """Quantize the scales as well: 4.127 instead of 4.5 bits a weight (same paper)."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, on rows of which tokenizer and length, and how. Names and meanings are axolotl's where it has the key."""

    base_model: str
    """A folder, or a Hub id ``owner/name``; with ``init: random`` only its shape counts, and a model type such as ``llama`` will do."""

    revision_of_model: str | None = None
    """Branch, tag or commit of a Hub id; what it resolved to is written into the run's own copy of the recipe."""

    tokenizer: str | None = None
    """A folder, a tokenizer.json or a Hub id; by default the model's own. ``train``: one trained on the documents (a folder called
    train is ./train). axolotl's ``tokenizer_config`` is the same key."""

    init: Literal["pretrained", "random"] = "pretrained"
    """``random``: train from scratch, with weights drawn from ``seed`` and as many embeddings as the tokenizer has tokens."""

    overrides_of_model_config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """With ``init: random``, values put over the shape of ``base_model``, such as ``hidden_size`` and ``num_hidden_layers``."""

    adapter: Literal["qlora", "lora", "none"] = "none"
    """``qlora``: LoRA on a base held in 4 bits. ``lora``: LoRA on a base as it is stored. ``none``, or left out or empty as in axolotl:
    every weight is trained."""

    load_in_4bit: bool | None = None
    """Follows from ``adapter``; may be written out, as axolotl's files do."""

    load_in_8bit: bool = False
    """With ``adapter: lora``, hold the base in 8 bits (LLM.int8, Dettmers et al. 2022)."""

    bnb_config_kwargs: Quantization = field(default_factory=Quantization)
    """How the 4 bits are laid out: ``bnb_4bit_quant_type`` (nf4 or fp4) and ``bnb_4bit_use_double_quant`` (true or false)."""

    lora_r: int = at_least(16, 1)
    """Rank of the adapter: the width of its two matrices."""

    lora_alpha: int = at_least(32, 1)
    """The adapter's output is scaled by alpha / r; twice the rank is usual."""

    lora_dropout: float = between(0.0, 0.0, 0.9)
    """Share of the adapter's inputs that are left out at random; QLoRA used 0.1 up to 13B parameters, 0.05 above (section B.2)."""

    lora_target_modules: tuple[str, ...] = ()
    """Names of the layers to adapt, such as q_proj; empty: every linear layer but the output (``lora_target_linear``)."""

    lora_target_linear: bool | None = None
    """Adapt every linear layer, besides those named; QLoRA found this to matter more than the rank (Dettmers et al. 2023, figure 2)."""

    lora_modules_to_save: tuple[str, ...] = ()
    """Layers trained whole and saved with the adapter: embed_tokens and lm_head, when the tokenizer has tokens that the base lacks."""

    sequence_len: int = at_least(512, 8)
    """Tokens a row; part of the name of the tokens' folder."""

    micro_batch_size: int = at_least(1, 1)
    """Rows a forward pass, on each device."""

    gradient_accumulation_steps: int = at_least(1, 1)
    """Forward passes a step; the step's loss is the mean over all supervised tokens of these."""

    num_epochs: float | None = at_least(None, 0.01)
    """Passes over the training rows, 1 when ``max_steps`` is not set either."""

    max_steps: int | None = at_least(None, 1)
    """Steps in all. Wins over ``num_epochs``, as in axolotl and transformers."""

    optimizer: Optimizer = "adamw_torch"
    """transformers' names; ``adam`` is without decoupled decay (weight_decay is added to the gradient), and ours. 8 bits and paging are
    bitsandbytes'."""

    momentum: float | None = between(None, 0.0, 1.0)
    """How much of the step before goes on, of sgd and rmsprop; by default 0.9 of sgd and none of rmsprop."""

    adam_beta1: float = between(0.9, 0.0, 1.0)
    """Decay of the mean of gradients; PyTorch's default."""

    adam_beta2: float = between(0.999, 0.0, 1.0)
    """Decay of the mean of squared gradients; PyTorch's default. 0.95 is usual for large models (Brown et al. 2020, appendix B)."""

    adam_epsilon: float = between(1e-8, 0.0, 1.0)
    """Added to the root of the squares; PyTorch's default."""

    max_grad_norm: float = at_least(1.0, 0.0)
    """Gradients are scaled down to this norm; 0 leaves them as they are. QLoRA used 0.3."""

    lr_scheduler: Scheduler = "cosine"
    """The learning rate's way after the warm-up, transformers' names; each begins with the warm-up, ``constant`` too."""

    cosine_min_lr_ratio: float | None = between(None, 0.0, 1.0)
    """With ``lr_scheduler: cosine``, end at this share of ``learning_rate`` instead of 0."""

    learning_rate: float = between(2e-4, 0.0, 1.0)
    """2e-4 is what QLoRA used up to 13B parameters (Dettmers et al. 2023, table 9)."""

    warmup_ratio: float = between(0.0, 0.0, 0.99)
    """Share of all steps in which the learning rate rises from 0."""

    warmup_steps: int = at_least(0, 0)
    """The same as a number of steps."""

    weight_decay: float = between(0.0, 0.0, 1.0)
    """Each step shrinks the trained matrices by this times the learning rate (Loshchilov and Hutter 2019); norms and biases are left."""

    l1_penalty: float = between(0.0, 0.0, 1.0)
    """Each step moves every weight of the trained matrices this times the learning rate closer to 0, and not beyond: L1, decoupled as
    ``weight_decay`` is."""

    gradient_checkpointing: bool | Literal["offload", "offload_disk", "unsloth"] = False
    """Compute activations a second time instead of keeping them: less memory, about a third more time. axolotl's ``offload`` is
    taken as true: nothing is moved off the device."""

    bf16: Literal["auto", "full"] | bool = "auto"
    """``auto``: bf16 where the hardware is fast in it (GPUs from Ampere on, CPUs with AVX512-BF16 or AMX), else fp16 on GPU, else fp32."""

    fp16: bool = False
    """Multiply in fp16, for GPUs before Ampere; the loss is scaled so that small gradients do not vanish."""

    bfloat16: bool = False
    """Without an adapter, hold the weights themselves in bf16: half the memory, but a step smaller than 1/256 of a weight is lost."""

    tf32: bool | None = None
    """Let GPUs from Ampere on multiply fp32 in 19 bits; PyTorch's own setting when left out, nothing on a CPU."""

    flash_attention: bool | None = None
    """Attend with the package flash-attn where it is installed and there is a GPU; otherwise, as when left out, with PyTorch's sdpa.
    Packed sequences are kept apart either way."""

    eval_steps: int | float | None = at_least(None, 0)
    """Steps between two evaluations (below 1: share of all steps); always before the first and after the last step as well."""

    evals_per_epoch: int | None = at_least(None, 0)
    """The same as evaluations a pass over the training rows."""

    eval_max_rows: int | None = at_least(None, 1)
    """Validate on this many rows of the split at most (they stand shuffled); all of them when left out."""

    document_losses_max_rows: int | None = at_least(None, 0)
    """After training, measure the documents of about this many rows for documents.parquet, base and trained model; 0: none, left out: all
    (two forward passes a row). ``python -m pipeline suspects RUN --complete`` measures all later."""

    save_steps: int | float | None = at_least(None, 0)
    """Steps between two checkpoints to resume from (below 1: share of all steps); with early stopping each evaluation saves one."""

    saves_per_epoch: int | None = at_least(None, 0)
    """The same as checkpoints a pass over the training rows."""

    logging_steps: int = at_least(1, 1)
    """Steps that a line of metrics is the mean of."""

    early_stopping_patience: int | None = at_least(None, 1)
    """Stop after this many evaluations in a row without a new best one, and keep what the best one had learned."""

    seed: int = at_least(42, 0)
    """Decides the order of rows, dropout, and the adapter's or the model's first weights."""

    report_to: tuple[Tracker, ...] = ()
    """Where metrics go besides metrics.jsonl, each where its package is installed; axolotl's use_tensorboard, use_wandb (or a
    wandb_project), use_mlflow and use_trackio do the same. This and the keys below change nothing that is learned."""

    wandb_project: str | None = None
    """Project of Weights & Biases."""

    wandb_entity: str | None = None
    """Team of Weights & Biases."""

    wandb_name: str | None = None
    """The run's name there; by default the folder's."""

    wandb_mode: Literal["online", "offline", "disabled"] | None = None
    """``offline`` writes to disk only."""

    mlflow_tracking_uri: str | None = None
    """Where MLflow keeps its runs."""

    mlflow_experiment_name: str | None = None
    """Experiment of MLflow."""

    mlflow_run_name: str | None = None
    """The run's name there; by default the folder's."""

    trackio_project_name: str | None = None
    """Project of trackio; by default gristmill."""

    search: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Ranges of settings that ``python -m pipeline search`` tries (pipeline/training/ranges.py); a run of training does not look at them."""

    search_sampler: Literal["tpe", "random", "grid"] = "tpe"
    """How a search chooses: by what the trials before it gave, by chance, or every combination."""

    def __post_init__(self) -> None:
        problem = next((problem for wrong, problem in self._contradictions() if wrong), None)
        if problem:
            raise ValueError(problem)

    def _contradictions(self) -> tuple[tuple[object, str], ...]:
        """What cannot stand together: whether it does, and what to say."""
        four_bits = self.adapter == "qlora"
        return (
            (
                self.load_in_4bit not in (None, four_bits),
                f"load_in_4bit: {str(self.load_in_4bit).lower()} contradicts adapter: {self.adapter}; leave load_in_4bit out",
            ),
            (self.load_in_8bit and self.adapter != "lora", f"load_in_8bit: true needs adapter: lora, not {self.adapter}; leave load_in_8bit out"),
            (self.init == "random" and self.adapter != "none", f"init: random trains every weight; adapter: {self.adapter} does not; leave it out"),
            (self.overrides_of_model_config and self.init != "random", "overrides_of_model_config needs init: random; set it, or leave them out"),
            (
                self.lora_target_linear is False and not self.lora_target_modules and self.adapter != "none",
                "lora_target_linear: false leaves nothing to adapt; name lora_target_modules",
            ),
            (self.bf16 in (True, "full") and self.fp16, "bf16 and fp16 are both true; keep one, or bf16: auto"),
            (self.bfloat16 and self.fp16, "bfloat16 and fp16 are both true; keep one"),
            (self.bfloat16 and self.bf16 is False, "bfloat16: true contradicts bf16: false; keep one"),
            (self.warmup_ratio and self.warmup_steps, "warmup_ratio and warmup_steps are both set; keep one"),
            (self.cosine_min_lr_ratio and self.lr_scheduler != "cosine", "cosine_min_lr_ratio needs lr_scheduler: cosine; leave one out"),
            (self.eval_steps and self.evals_per_epoch, "eval_steps and evals_per_epoch are both set; keep one"),
            (self.save_steps and self.saves_per_epoch, "save_steps and saves_per_epoch are both set; keep one"),
            (
                any(steps and steps > 1 and steps != int(steps) for steps in (self.eval_steps, self.save_steps)),
                "eval_steps and save_steps are whole numbers of steps, or shares below 1",
            ),
            (
                self.early_stopping_patience and not (self.eval_steps or self.evals_per_epoch),
                "early_stopping_patience counts evaluations; set eval_steps too",
            ),
        )

    @property
    def tokenizer_name(self) -> str:
        """What to load the tokenizer from."""
        return self.tokenizer or self.base_model

    @property
    def tokenizer_revision(self) -> str | None:
        """At which revision to load it, when it is a Hub id."""
        return self.revision_of_model if self.tokenizer is None else None

    def of_trained(self) -> Recipe:
        """The recipe as it reads the whole model that it trained: no weights are drawn, and its configuration is as it was written."""
        return replace(self, init="pretrained", overrides_of_model_config={})

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
        if self.bfloat16:
            return "bf16"
        if self.bf16 == "auto":
            return None
        return "bf16" if self.bf16 else "fp32"

    @property
    def warmup(self) -> float:
        """As transformers takes it: below 1 a share of all steps, else a number of steps."""
        return float(self.warmup_steps or self.warmup_ratio)


SEARCH_KEYS = ("search", "search_sampler")


def settings_of_run(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what a run of training does: all but those of a search and of where it is watched."""
    return {key: value for key, value in to_plain(recipe).items() if key not in SEARCH_KEYS + TRACKING}


def as_yaml(recipe: Recipe) -> str:
    """The settings that decide what a run does, as the text of a recipe that reads as the same one; what is empty is left out."""
    return str(yaml.safe_dump({key: value for key, value in settings_of_run(recipe).items() if value not in (None, [], {})}, sort_keys=False))


def read_recipe(path: Path, overrides: Sequence[str] = (), say: Callable[[str], None] | None = None) -> Recipe:
    """The recipe at ``path`` with ``key=value`` settings put over it; raises SettingsError with every problem.

    What an axolotl file has besides is told to ``say`` in one line.
    """
    raw, notices = in_our_words(override(read_yaml(path), overrides))
    recipe = build(Recipe, raw)
    for notice in notices if say else ():
        say(notice)  # type: ignore[misc]
    return recipe
