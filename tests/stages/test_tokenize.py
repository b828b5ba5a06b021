"""The whole stage: every token is accounted for whatever the settings; a tokenizer of one's own is trained, resumed and planned like the rest."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets import Dataset, open_dataset
from pipeline.models import IGNORED, load_tokenizer
from pipeline.packing.settings import OwnTokenizer, TokenizeSettings
from pipeline.progress import Progress
from pipeline.settings import build, parse_yaml
from pipeline.stages import tokenize as stage
from pipeline.stages.inputs import open_inputs
from pipeline.training.recipe import Recipe

from .conftest import CHECKOUT, command, environment, run_module, tree

LENGTH = 48
KILLS = 4
OWN = ("--tokenizer", "train", "--length", str(LENGTH), "--set", "own_tokenizer.vocab_size=290")


def write_documents(folder: Path) -> Path:
    """Plain texts of all sizes in two sources, and conversations, some with messages that say whether they are learned."""
    dice = random.Random(3)
    words = ["bread", "water", "tomato", "stick", "12", "key", "<|end|>", "<|im_end|>", "漢字", "naïve", "\n\n", "\n"]
    for source in ("a", "b"):
        (folder / source).mkdir(parents=True)
        for number in range(24):
            (folder / source / f"{number:02d}.txt").write_text(" ".join(dice.choices(words, k=dice.choice([1, 5, 20, 60, 200]))), encoding="utf-8")
    turns = [
        [{"role": "user" if n % 2 == 0 else "assistant", "content": " ".join(dice.choices(words, k=dice.choice([2, 8, 30])))} for n in range(size)]
        for size in (1, 2, 2, 4, 6) * 4
    ]
    turns[2][1]["train"] = False
    (folder / "talk.jsonl").write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One extracted dataset each of the sources a, b and talk."""
    folder = tmp_path_factory.mktemp("documents")
    texts = write_documents(folder / "texts")
    for name in ("a", "b", "talk.jsonl"):
        done = run_module("pipeline.stages.extract", texts / name, folder / "raw" / name.partition(".")[0], "--workers", 1, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "raw"


def run_stage(documents: Path, output: Path, recipe: Recipe, wanted: TokenizeSettings) -> Dataset:
    """The stage, in this process."""
    with Progress("tokenize", quiet=True) as progress:
        inputs = open_inputs([documents], output, 1, None, progress, "tokenize")
        job = stage.resolve(wanted, recipe, inputs.digests())
        return stage.tokenize(job, wanted, recipe, inputs, output, 1, None, progress)


def rows_of(dataset: Dataset, split: str) -> list[dict[str, Any]]:
    """The rows of a split."""
    return [row for path in dataset.files(split) for row in pa.ipc.open_stream(pa.memory_map(str(path))).read_all().to_pylist()]


shares = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0])
wishes = st.builds(
    TokenizeSettings,
    pack=st.sampled_from(["best_fit", "sequential", "wrapped", "none"]),
    over_long=st.sampled_from(["split", "truncate", "drop"]),
    over_long_conversations=st.sampled_from(["drop", "truncate"]),
    split_at=st.sampled_from(["token", "paragraph"]),
    overlap_tokens=st.sampled_from([0, 1, 7, 23]),
    learn=st.sampled_from(["assistant", "last_assistant", "all"]),
    validation_share=st.sampled_from([0.0, 0.1, 0.4]),
    test_share=st.sampled_from([0.0, 0.2]),
    epochs=st.dictionaries(st.sampled_from(["a", "b", "talk"]), shares),
    ratio=st.one_of(st.just({}), st.fixed_dictionaries({"a": shares, "b": shares, "talk": shares})),
    rows_per_shard=st.sampled_from([3, 1000]),
    seed=st.integers(0, 5),
    padding_side=st.sampled_from(["left", "right"]),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=wishes)
def test_every_token_is_accounted_for(
    documents: Path, tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory, wanted: TokenizeSettings
) -> None:
    """Tokens in are those in rows, cut off, dropped, left out, or in a row that would teach nothing; every row teaches; no split shares a group."""
    dataset = run_stage(documents, tmp_path_factory.mktemp("out") / "tokens", Recipe(str(tiny_tokenizer), sequence_len=LENGTH), wanted)
    counts: Counter[str] = Counter()
    for one in dataset.manifest["tokens"].values():
        counts.update(one)
    assert counts["tokens"] == counts["tokens_kept"] + counts["tokens_truncated"] + counts["tokens_dropped"]
    assert counts["learned"] == counts["learned_kept"] + counts["learned_truncated"] + counts["learned_dropped"]
    read = dataset.manifest["counts"]
    assert sum(one["read"] for one in read.values()) == 68
    mixed = dataset.manifest["mix"].values()
    moved = sum(one["tokens_repeated"] - one["tokens_left_out"] for one in mixed)
    unlearned = sum(one["tokens_unlearned"] for one in dataset.manifest["splits"].values())
    in_rows, home, stands = 0, {}, Counter()
    for split in ("train", "validation", "test"):
        for row in rows_of(dataset, split):
            assert any(label != IGNORED for label in row["labels"])
            assert len(row["input_ids"]) == sum(row["sequence_lengths"]) <= LENGTH
            assert wanted.pack != "none" or len(row["input_ids"]) == LENGTH
            real = [piece for piece in row["pieces"] if piece["id"] is not None]
            in_rows += sum(piece["end"] - piece["start"] for piece in real)
            stands.update((piece["id"], piece["start"]) for piece in real)
            assert {home.setdefault(piece["id"], split) for piece in real} == {split}
    assert counts["tokens_kept"] + counts["tokens_overlap"] + moved == in_rows + unlearned
    once = not wanted.epochs and not wanted.ratio
    assert not once or set(stands.values()) <= {1}
    whole = wanted.over_long != "split" and wanted.pack != "wrapped"
    assert not (once and whole) or len(stands) == len(home)
    assert whole or counts["documents_split"] or wanted.pack == "wrapped"


@pytest.fixture(scope="module")
def own(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token set with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("own")
    done = run_module("pipeline.stages.tokenize", documents, folder / "tokens", *OWN, "--workers", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"own tokenizer: 290 tokens, in {folder / 'tokens' / 'tokenizer'}" in done.stdout
    return folder / "tokens"


def test_the_own_tokenizer_lies_with_its_tokens(own: Path) -> None:
    """Its folder is loaded like any other, is the one the manifest names, and its files are among those that are verified."""
    dataset = open_dataset(own)
    told = dataset.manifest["tokenizer"]
    info = load_tokenizer(str(own / told["folder"]))
    assert (told["name"], told["fingerprint"], told["vocab_size"]) == ("own", info.fingerprint, 290)
    assert {name for name in dataset.manifest["files"] if name.startswith("tokenizer/")} == {
        f"tokenizer/{path.name}" for path in (own / "tokenizer").iterdir()
    }
    recipe = Recipe("some/model", tokenizer="train", sequence_len=LENGTH)
    assert (recipe.tokenizer_beside(own), recipe.tokens_name) == (str(own / "tokenizer"), "own-48")
    text = info.tokenizer.decode([token for row in rows_of(dataset, "train") for token in row["input_ids"]], skip_special_tokens=False)
    assert "tomato stick" in text and "漢字" in text and "<|im_start|>assistant\n" in text


@pytest.mark.parametrize("workers", ["2", "3"])
def test_an_own_tokenizer_is_the_same_for_any_workers(documents: Path, own: Path, tmp_path: Path, workers: str) -> None:
    """The number of workers, of threads and the hash seed change no byte."""
    extra = {"PYTHONHASHSEED": workers, "RAYON_NUM_THREADS": workers}
    done = run_module("pipeline.stages.tokenize", documents, tmp_path / "tokens", *OWN, "--workers", workers, cwd=tmp_path, env=extra)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "tokens") == tree(own)


def test_killed_while_it_trains(documents: Path, own: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments leaves no half of a token set, and the next run gives the undisturbed bytes."""
    arguments = [documents, tmp_path / "tokens", *OWN, "--workers", "2"]
    started = time.monotonic()
    assert run_module("pipeline.stages.tokenize", *arguments, cwd=tmp_path).returncode == 0
    seconds = time.monotonic() - started
    dice = random.Random("own")
    for _ in range(KILLS):
        shutil.rmtree(tmp_path / "tokens", ignore_errors=True)
        process = subprocess.Popen(
            command("pipeline.stages.tokenize", arguments),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=dice.uniform(0.3 * seconds, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not (tmp_path / "tokens").exists() or tree(tmp_path / "tokens") == tree(own)
        assert run_module("pipeline.stages.tokenize", *arguments, cwd=tmp_path).returncode == 0
        assert tree(tmp_path / "tokens") == tree(own)


def test_a_trained_tokenizer_is_not_trained_again(documents: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends after the training goes on from its record, to the same bytes."""
    recipe = Recipe("train", tokenizer="train", sequence_len=LENGTH)
    wanted = stage.read_settings(CHECKOUT / "stages" / "tokenize.yaml", [OWN[-1]])
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_engine", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_stage(documents, tmp_path / "tokens", recipe, wanted)
    monkeypatch.setattr(stage, "train_tokenizer", None)
    dataset = run_stage(documents, tmp_path / "tokens", recipe, wanted)
    assert tree(dataset.folder) == tree(own)


def test_what_the_key_depends_on(documents: Path, tiny_tokenizer: Path, tmp_path: Path) -> None:
    """The settings of an own tokenizer, its template's text included, decide the key where it is trained, and only there."""
    path = tmp_path / "mine.jinja"
    path.write_text("{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}")

    def key(tokenizer: str, **own_settings: Any) -> str:
        recipe = Recipe(str(tiny_tokenizer), tokenizer=tokenizer, sequence_len=LENGTH)
        return stage.resolve(TokenizeSettings(own_tokenizer=OwnTokenizer(**own_settings)), recipe, []).key

    assert key(str(tiny_tokenizer)) == key(str(tiny_tokenizer), vocab_size=999)
    assert key("train") != key("train", vocab_size=999)
    before = key("train", chat_template=str(path))
    path.write_text(path.read_text() + "\n")
    assert len({before, key("train", chat_template=str(path)), key("train")}) == 3


def test_make_knows_an_own_tokenizer(own: Path, tmp_path: Path) -> None:
    """The plan names its token set, finds it up to date, and stale when a setting of the tokenizer changes."""
    for name in ("stages", "filters"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    (tmp_path / "notes.txt").write_text("Bread wants time more than it wants work, and tomatoes want water, sun and a stick to lean on.\n")
    (tmp_path / "stages" / "extract.yaml").write_text("sources:\n  notes: {path: notes.txt}\n")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.yaml").write_text(f"base_model: some/model\ntokenizer: train\nsequence_len: {LENGTH}\n")
    for module, *arguments in (
        ("extract", "--source", "notes", "data/raw/notes"),
        ("filter", "data/raw/notes", "data/clean"),
        ("tokenize", "data/clean", f"data/tokens/own-{LENGTH}", "--recipe", "train/mine.yaml"),
    ):
        done = run_module(f"pipeline.stages.{module}", *arguments, "--workers", 1, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    plan = ("pipeline.plan", "--state", "data/.plan", "--recipe", "mine", "--made", "data/none", "--model", "data/none", "--explain")
    assert f"tokens-own-{LENGTH}: up to date" in run_module(*plan, cwd=tmp_path).stdout
    path = tmp_path / "stages" / "tokenize.yaml"
    path.write_text(path.read_text().replace("min_frequency: 2", "min_frequency: 3"))
    assert "own_tokenizer.min_frequency: 2 -> 3" in run_module(*plan, cwd=tmp_path).stdout


def test_a_small_vocabulary_is_said(documents: Path, tmp_path: Path) -> None:
    """More tokens than the texts support are not given silently."""
    done = run_module("pipeline.stages.tokenize", documents / "a", tmp_path / "tokens", "--tokenizer", "train", "--length", LENGTH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "16,384 tokens were wanted, the sample supports" in done.stdout


def test_the_settings_file_holds_the_defaults() -> None:
    """Every setting stands in stages/tokenize.yaml with its default, but for the shares of the splits and the token for padding."""
    raw = parse_yaml((CHECKOUT / "stages" / "tokenize.yaml").read_text(encoding="utf-8"), "tokenize.yaml")
    assert set(raw.values) == set(vars(TokenizeSettings())) - {"pad_token"}
    shares = {name: raw.values[name] for name in ("validation_share", "test_share")}
    assert build(TokenizeSettings, raw) == TokenizeSettings(**shares)
