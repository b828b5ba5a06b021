"""What a run tells while it goes: accuracy beside loss, validation by source, a bar, trackers, and several processes as one."""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets as hf
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.errors import MissingPackageError
from pipeline.models import IGNORED
from pipeline.progress import Progress
from pipeline.training import metrics, recorder
from pipeline.training import rows as rows_module
from pipeline.training.collate import collate
from pipeline.training.model import load_base
from pipeline.training.objective import predict
from pipeline.training.recipe import Recipe, as_yaml
from pipeline.training.run import run_training

from .conftest import Commit, packed_row, rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """Without the losses of documents, which have tests of their own."""
    return dataclasses.replace(recipe, document_losses_max_rows=0)


def run(recipe: Recipe, tokens: Path, out: Path, **others: Any) -> list[metrics.Line]:
    """The metrics of a run."""
    run_training(recipe, tokens, out, recipe.base_model, lambda line: None, **others)
    return metrics.read(out / "metrics.jsonl")


def test_the_loss_is_that_of_the_whole_output_layer(recipe: Recipe) -> None:
    """Computed at the supervised places alone it equals the model's own, in a batch of rows of unequal length; so do its gradients."""
    batch = collate([packed_row([9, 14], random.Random(0), prompt=3), packed_row([12], random.Random(1), prompt=5)])
    model = load_base(recipe.base_model, dataclasses.replace(recipe, adapter="none"), "fp32")
    gradients = []
    for loss in (model(**batch).loss, predict(model, batch).losses.mean()):
        model.zero_grad()
        loss.backward()
        gradients.append((loss.item(), model.model.layers[0].mlp.up_proj.weight.grad.clone()))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6) and torch.allclose(gradients[0][1], gradients[1][1], atol=1e-6)


def test_accuracy_and_losses_by_source_are_those_of_the_model(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """The evaluation before the first step says what plain transformers says of the base model, token by token."""
    line = metrics.evaluations(run(dataclasses.replace(recipe, max_steps=1, micro_batch_size=2), tokens, tmp_path))[0]
    base = AutoModelForCausalLM.from_pretrained(recipe.base_model)
    base.config.use_cache = False
    losses: dict[str, list[float]] = {}
    right = []
    for row in rows(3, seed=1):
        names = [piece["source"] for piece, size in zip(row["pieces"], row["sequence_lengths"], strict=True) for _ in range(size)]
        batch = collate([row])
        labels = batch.pop("labels")[0, 1:]
        with torch.no_grad():
            logits = base(**batch).logits[0, :-1]
        every = torch.nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
        for place in (labels != IGNORED).nonzero().flatten().tolist():
            losses.setdefault(names[place + 1], []).append(every[place].item())
            right.append(logits[place].argmax().item() == labels[place].item())
    assert line["eval_accuracy"] == pytest.approx(sum(right) / len(right)) and line["eval_tokens"] == len(right)
    assert line["eval_loss_by_source"] == pytest.approx({name: sum(some) / len(some) for name, some in losses.items()}, abs=1e-4)


def test_training_accuracy_is_of_the_steps_since_the_last_line(recipe: Recipe, commit: Commit, tmp_path: Path) -> None:
    """A run that has learned its two rows by heart predicts all of their tokens."""
    tokens = commit(tmp_path / "tokens", {"train": rows(2)})
    recipe = dataclasses.replace(recipe, adapter="none", max_steps=60, learning_rate=0.01, micro_batch_size=2, logging_steps=20)
    accuracies = [line["accuracy"] for line in metrics.training(run(recipe, tokens, tmp_path / "out"))]
    assert accuracies[0] < accuracies[-1] and accuracies[-1] > 0.99


class Terminal(Progress):
    """A bar that only remembers."""

    def __init__(self) -> None:
        super().__init__("train")
        self.notes: list[str] = []
        self.steps = 0

    @property
    def has_bar(self) -> bool:
        """Always."""
        return True

    def start(self, step: str, total: int, done: int = 0) -> None:
        """The number of steps."""
        self.total = total

    def advance(self) -> None:
        """One more."""
        self.steps += 1

    def note(self, text: str) -> None:
        """What stands beside the bar."""
        self.notes.append(text)


def test_a_terminal_shows_a_bar_instead_of_lines(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Loss and speed stand beside the bar; evaluations are lines all the same."""
    progress, said = Terminal(), list[str]()
    recipe = dataclasses.replace(recipe, max_steps=3, flash_attention=True)
    run_training(recipe, tokens, tmp_path, recipe.base_model, said.append, progress)
    assert (progress.total, progress.steps, len(progress.notes)) == (3, 3, 3) and "tokens/s" in progress.notes[0]
    assert not any(line.startswith("step") and "validation" not in line for line in said) and any("validation loss" in line for line in said)
    assert torch.cuda.is_available() or any(line.startswith("flash_attention: the package flash-attn or a GPU is not there") for line in said)


def test_a_bar_has_a_note_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal only; a note before the first step is no mistake."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("train") as progress:
        progress.note("too early")
        progress.start("steps", 2)
        progress.note("loss 2.5")
        assert progress.has_bar and progress._bar.tasks[0].fields["note"] == "loss 2.5"
    with Progress("train", quiet=True) as progress:
        progress.note("nowhere")
        assert not progress.has_bar


def test_rows_of_before_name_no_sources() -> None:
    """Pieces without a source are read as they were."""
    pieces = [{"id": "a", "start": 0, "end": 3}]
    assert rows_module._sources(hf.Dataset.from_list([{"pieces": pieces}])) == ()
    assert rows_module._sources(hf.Dataset.from_list([{"pieces": [{**pieces[0], "source": name} for name in ("b", "a", None)]}])) == ("a", "b")


def test_a_tracker_that_is_not_installed_is_named(recipe: Recipe, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with what to install."""
    monkeypatch.setattr(recorder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"wandb: is not installed, and report_to: wandb needs it; run: pip install wandb"):
        run(dataclasses.replace(recipe, report_to=("wandb",)), tokens, tmp_path)


def test_tensorboard_is_told_what_metrics_hold(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Losses of training and validation, and of each source, as scalars."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    lines = run(dataclasses.replace(recipe, report_to=("tensorboard",), max_steps=2), tokens, tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [scalar.value for scalar in events.Scalars("train/loss")] == pytest.approx([line["loss"] for line in metrics.training(lines)])
    assert {"eval/loss/docs", "eval/loss/forum", "eval/accuracy", "train/accuracy"} <= set(events.Tags()["scalars"])


def launched(num_processes: int, program: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with ``accelerate launch``, in processes that speak over the loopback interface."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(num_processes), "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_ip", "127.0.0.1", "--main_process_port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    try:
        return subprocess.run([*launch, *program], cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    except subprocess.TimeoutExpired as stuck:
        return subprocess.CompletedProcess(stuck.cmd, 1, "", f"{stuck}\n{stuck.stderr!r}")


def skip_unless_processes_meet(folder: Path) -> None:
    """Skip the test where two processes that do nothing but meet fail as well: then it is the machine, not the trainer."""
    program = folder / "meet.py"
    program.write_text("import accelerate\n\naccelerate.PartialState(cpu=True).wait_for_everyone()\n")
    done = launched(2, [str(program)], folder)
    if done.returncode != 0:
        pytest.skip(f"processes of torch.distributed cannot meet on this machine: {done.stderr[-300:]}")


def test_two_processes_train_as_one(recipe: Recipe, tokens: Path, tmp_path: Path) -> None:
    """Under accelerate launch two processes with a row each take the steps of one with two rows: same losses, same validation, one run."""
    recipe = dataclasses.replace(recipe, max_steps=2, save_steps=1)
    file = tmp_path / "recipe.yaml"
    file.write_text(as_yaml(recipe))
    done = launched(2, ["-m", "pipeline.stages.train", str(tokens), str(tmp_path / "two"), "--recipe", str(file)], tmp_path)
    if done.returncode != 0:
        skip_unless_processes_meet(tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    two = metrics.read(tmp_path / "two" / "metrics.jsonl")
    one = run(dataclasses.replace(recipe, micro_batch_size=2), tokens, tmp_path / "one")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for mine, other in zip(one, two, strict=True):
        for key in {"loss", "eval_loss", "accuracy", "eval_accuracy", "grad_norm", "eval_tokens"} & mine.keys():
            assert mine[key] == pytest.approx(other[key], rel=1e-4)
