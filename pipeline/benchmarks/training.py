"""Training on a CPU: our loop and TRL's on the same packed rows, and packed rows beside padded ones."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pipeline.benchmarks import trl_training
from pipeline.benchmarks.costs import PACKAGE, Cost, environment, least, module, own_package, run
from pipeline.benchmarks.table import Compared, Result, Setup, Table
from pipeline.commits import Build
from pipeline.datasets import Shard, file_sha256, open_dataset
from pipeline.errors import GristmillError

MODEL = PACKAGE / "data" / "models" / "smollm2-135m-instruct"
SOURCES = (PACKAGE / "data" / "sources" / "instructions.csv", PACKAGE / "data" / "sources" / "forum.sql")
LENGTH = 512
STEPS = 12
PEER = ("torch==2.13.0", "trl", "peft", "bitsandbytes")
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
"""For both: threads that wait sleep, so that waiting is not counted as work."""

SETTINGS: dict[str, Any] = {
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "lr_scheduler": "cosine",
    "learning_rate": 0.001,
    "warmup_steps": 2,
    "max_grad_norm": 0.3,
    "gradient_checkpointing": True,
}
"""Of both, beside AdamW, bf16 and a row a step."""

ADAPTERS = ("qlora", "lora")


@dataclass(frozen=True)
class _Trained:
    """What a tool's runs cost (the least of the seeds, and of one step alone), and the validation loss after each."""

    name: str
    cost: Cost
    one_step: Cost
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.losses)


def measure(setup: Setup) -> Result:
    """The benchmark: STEPS steps of QLoRA and of LoRA with each tool, one run a seed, and QLoRA on padded rows."""
    folder = setup.folder
    _prepare(folder)
    trained: dict[str, list[_Trained]] = {}
    about = [
        f"SmolLM2-135M-Instruct on the sample's instructions and forum, {STEPS} steps of a packed row of {LENGTH} tokens; both tools get the",
        "same rows in the same order, the same seeds and settings:",
        f"{', '.join(f'{name} {value}' for name, value in SETTINGS.items())}, bf16, AdamW; {setup.runs} seeds, the run of least CPU time counts.",
        "`work` leaves out what a run of one step takes: starting, importing, loading the model. The loss is measured by the same code for both,",
        f"on {_num_rows(folder / 'packed', 'validation')} rows that were held back.",
    ]
    for adapter in ADAPTERS:
        trained[adapter] = [_own(setup, adapter)]
        if setup.with_peers:
            try:
                trained[adapter].append(_peer(setup, adapter))
            except GristmillError as error:
                about.append(f"TRL was not measured: {error.where} {error.what}.")
    tables = [_tools_table(folder, trained), _padding_table(folder, trained["qlora"][0])]
    commands = [
        "python -m pipeline.benchmarks train",
        "python -m pipeline.stages.train packed-rows run --recipe qlora.yaml",
    ]
    compared = [
        Compared(f"{STEPS} steps, {adapter}", "TRL SFTTrainer", own.cost, peer.cost, f"validation loss {own.loss:.4f}, {peer.loss:.4f}")
        for adapter, (own, *peers) in trained.items()
        for peer in peers
    ]
    return Result("Training", about, commands, tables, from_corpus=False, compared=compared)


def _prepare(folder: Path) -> None:
    """Rows of the sample's conversations: packed and padded ones, the first STEPS of each to train on alone; and a recipe for each adapter."""
    if not (MODEL / "model.safetensors").is_file():
        run(module("pipeline.models", "weights", MODEL), folder, own_package())
    run(module("pipeline.stages.extract", *SOURCES, "raw", "--quiet"), folder, own_package())
    how = ("--tokenizer", MODEL, "--length", LENGTH, "--workers", 1, "--quiet", "--set", "validation_share=0.2")
    for name, pack in (("packed", "best_fit"), ("padded", "none")):
        run(module("pipeline.stages.tokenize", "raw", name, *how, "--set", f"pack={pack}"), folder, own_package())
        _first_rows(folder / name, folder / f"{name}-rows", STEPS)
    for adapter in ADAPTERS:
        recipe = {"base_model": str(MODEL), "adapter": adapter, **SETTINGS, "sequence_len": LENGTH, "bf16": True, "max_steps": STEPS}
        (folder / f"{adapter}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))


def _num_rows(tokens: Path, split: str) -> int:
    return open_dataset(tokens).rows(split)


def _first_rows(tokens: Path, output: Path, count: int) -> None:
    """A committed set of the first rows to train on and of none to validate, so that a run does nothing but train."""
    dataset = open_dataset(tokens)
    with pa.OSFile(str(dataset.checked_files("train")[0])) as file:
        rows = pa.ipc.open_stream(file).read_all().slice(0, count).combine_chunks()
    with Build(output, dataset.key) as build:
        path = build.folder / "train" / "part-00000.arrow"
        path.parent.mkdir(parents=True)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
            writer.write_table(rows)
        shard = Shard("train/part-00000.arrow", len(rows), path.stat().st_size, file_sha256(path))
        about = {name: dataset.manifest[name] for name in ("stage", "tokenizer", "sequence_len")}
        build.commit([shard], about, {})


def _own(setup: Setup, adapter: str) -> _Trained:
    def train(name: str, seed: int, steps: int) -> Cost:
        return _train(setup.folder, "packed-rows", name, adapter, seed, steps)

    names = [f"own-{adapter}-{seed}" for seed in range(setup.runs)]
    costs = [train(name, seed, STEPS) for seed, name in enumerate(names)]
    losses = [_loss(setup.folder, adapter, f"{name}/adapter") for name in names]
    return _Trained(f"{adapter}, gristmill", least(costs), train(f"own-{adapter}-start", 0, 1), tuple(losses))


def _train(folder: Path, rows: str, name: str, adapter: str, seed: int, steps: int) -> Cost:
    settings = ("--set", f"seed={seed}", "--set", f"max_steps={steps}", "--set", "document_losses_max_rows=0")
    command = module("pipeline.stages.train", rows, name, "--recipe", f"{adapter}.yaml", *settings, "--quiet")
    return run(command, folder, {**ENVIRONMENT, **own_package()})


def _peer(setup: Setup, adapter: str) -> _Trained:
    python = environment(setup.environments / "trl-train", PEER)
    home = {"HF_HOME": str(setup.folder / "huggingface")}
    rows = f"packed-rows/{open_dataset(setup.folder / 'packed-rows').shards[0].path}"

    def train(name: str, seed: int, steps: int) -> Cost:
        settings = json.dumps({**SETTINGS, "seed": seed, "max_steps": steps})
        script = str(Path(trl_training.__file__))
        return run([str(python), script, str(MODEL), rows, name, adapter, settings], setup.folder, {**ENVIRONMENT, **home})

    names = [f"trl-{adapter}-{seed}" for seed in range(setup.runs)]
    costs = [train(name, seed, STEPS) for seed, name in enumerate(names)]
    losses = [_loss(setup.folder, adapter, name) for name in names]
    return _Trained(f"{adapter}, TRL SFTTrainer", least(costs), train(f"trl-{adapter}-start", 0, 1), tuple(losses))


def _loss(folder: Path, adapter: str, *trained: str) -> float:
    run(module("pipeline.benchmarks.adapter_loss", f"{adapter}.yaml", "packed", *trained), folder, {**ENVIRONMENT, **own_package()})
    said = json.loads((folder / "log.txt").read_text().strip().splitlines()[-1])
    return float(said["loss"])


def _counts(rows: Path) -> tuple[int, int, int]:
    """Tokens with filling, tokens of documents, and supervised tokens of a set of rows; the first of a sequence is not learned."""
    with pa.OSFile(str(open_dataset(rows).checked_files("train")[0])) as file:
        table = pa.ipc.open_stream(file).read_all().select(["input_ids", "labels", "position_ids", "sequence_lengths", "pieces"]).to_pylist()
    filled = sum(len(row["input_ids"]) for row in table)
    real = sum(length for row in table for length, piece in zip(row["sequence_lengths"], row["pieces"], strict=True) if piece["id"] is not None)
    learned = sum(label >= 0 and at > 0 for row in table for label, at in zip(row["labels"], row["position_ids"], strict=True))
    return filled, real, learned


def _work(cost: Cost, one_step: Cost) -> float:
    """CPU seconds of all steps, from those of all but one."""
    return (cost.cpu_seconds - one_step.cpu_seconds) * STEPS / (STEPS - 1)


def _tools_table(folder: Path, trained: dict[str, list[_Trained]]) -> Table:
    tokens, _, _ = _counts(folder / "packed-rows")
    rows = []
    for adapter, tools in trained.items():
        for one in tools:
            work = _work(one.cost, one.one_step)
            mean, spread = statistics.fmean(one.losses), max(one.losses) - min(one.losses)
            loss = f"{mean:.4f}" + (f" (seeds: {spread:.4f} apart)" if len(one.losses) > 1 else "")
            figures = [
                f"{work:.1f}",
                f"{tokens / work:.1f}",
                f"{one.cost.cpu_seconds:.1f}",
                f"{one.cost.wall_seconds:.1f}",
                f"{one.cost.peak_mb:,.0f}",
            ]
            rows.append([one.name, *figures, loss])
        rows.append([f"{adapter}, before training", "", "", "", "", "", f"{_loss(folder, adapter):.4f}"])
    head = ("", "work CPU s", "tokens per work CPU s", "CPU s", "wall s", "peak MB", "validation loss, nats a token")
    return Table(f"{STEPS} rows, {tokens:,} tokens", head, rows)


def _padding_table(folder: Path, packed: _Trained) -> Table:
    padded = _Trained(
        "", _train(folder, "padded-rows", "padded", "qlora", 0, STEPS), _train(folder, "padded-rows", "padded-start", "qlora", 0, 1), ()
    )
    rows: list[list[str]] = []
    first = 0.0
    for name, title, one in (("packed-rows", "packed, best_fit", packed), ("padded-rows", "a document a row, padded", padded)):
        filled, real, learned = _counts(folder / name)
        work = _work(one.cost, one.one_step)
        each = 1000 * work / learned
        first = first or each
        rows.append([title, f"{filled:,}", f"{real / filled:.1%}", f"{learned:,}", f"{work:.1f}", f"{each:.1f}", f"{each / first:.1f}"])
    head = ("", "tokens with filling", "of documents", "supervised", "work CPU s", "CPU ms a supervised token", "to the first row's")
    return Table(f"QLoRA on {STEPS} rows of short conversations, gristmill", head, rows)
