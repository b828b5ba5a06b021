"""The same input gives the same bytes, whoever works and however often it was killed on the way."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import command, environment, run_module, tree

KILLS = 4


def chain(folder: Path, messy: Path) -> dict[str, list[object]]:
    """The first three stages over the messy folder, by the name of their output."""
    return {
        "raw": ["pipeline.stages.extract", messy, folder / "raw"],
        "clean": ["pipeline.stages.filter", folder / "raw", folder / "clean"],
        "tokens": ["pipeline.stages.tokenize", folder / "clean", folder / "tokens", "--recipe", folder / "recipe.yaml"],
    }


def write_recipe(folder: Path, tokenizer: Path) -> None:
    """A recipe that names a tokenizer made here."""
    (folder / "recipe.yaml").write_text(f"base_model: {tokenizer}\nsequence_len: 128\n")


def run_chain(folder: Path, messy: Path, *options: str, env: dict[str, str] | None = None) -> None:
    """Run the first three stages."""
    for module, *arguments in chain(folder, messy).values():
        done = run_module(str(module), *arguments, *options, cwd=folder, env=env)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def reference(messy: Path, tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages make of the messy folder, undisturbed."""
    folder = tmp_path_factory.mktemp("reference")
    write_recipe(folder, tiny_tokenizer)
    run_chain(folder, messy, "--workers", "1")
    return folder


@pytest.mark.parametrize(("workers", "seed", "locale"), [("2", "1", "C"), ("3", "77", "tr_TR.UTF-8")])
def test_workers_hash_seed_locale_and_folder_order(
    workers: str, seed: str, locale: str, messy: Path, tiny_tokenizer: Path, reference: Path, tmp_path: Path
) -> None:
    """Any number of workers, hash seed, locale, time zone and order of the folder's entries give the same bytes."""
    shuffled = tmp_path / "raw-copy" / "raw"
    files = [path for path in messy.rglob("*") if path.is_file()]
    random.Random(seed).shuffle(files)
    for path in files:
        target = shuffled / path.relative_to(messy)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    write_recipe(tmp_path, tiny_tokenizer)
    run_chain(tmp_path, shuffled, "--workers", workers, env={"PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": "Asia/Tokyo"})
    for name in ("raw", "clean", "tokens"):
        assert tree(tmp_path / name) == tree(reference / name), name


@pytest.mark.parametrize("name", ["raw", "clean", "tokens"])
def test_killed_at_random_moments(name: str, messy: Path, tiny_tokenizer: Path, reference: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments of a stage never leaves half a dataset, and a re-run gives the undisturbed bytes."""
    write_recipe(tmp_path, tiny_tokenizer)
    for before in ("raw", "clean"):
        if before != name:
            shutil.copytree(reference / before, tmp_path / before)
        else:
            break
    module, *arguments = chain(tmp_path, messy)[name]
    given = command(str(module), [*arguments, "--workers", "2"])
    started = time.monotonic()
    assert run_module(str(module), *arguments, "--workers", "2", cwd=tmp_path).returncode == 0
    seconds = time.monotonic() - started
    expected = tree(reference / name)
    assert tree(tmp_path / name) == expected
    dice = random.Random(name)
    killed = 0
    for _ in range(KILLS):
        shutil.rmtree(tmp_path / name)
        process = subprocess.Popen(given, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(timeout=dice.uniform(0.3 * seconds, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        if (tmp_path / name).exists():
            assert tree(tmp_path / name) == expected
        assert run_module(str(module), *arguments, "--workers", "2", cwd=tmp_path).returncode == 0
        assert tree(tmp_path / name) == expected
    assert killed >= KILLS // 3
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp") or ".partial-" in path.name or path.name.endswith(".lock")]


def test_a_killed_stage_resumes(messy: Path, tmp_path: Path) -> None:
    """A run that was killed leaves its finished parts, and the next one does not do them again."""
    from pipeline.commits import Build
    from pipeline.extractors.sources import read_part
    from pipeline.stages import extract

    job = extract.resolve(extract.sources_of([messy], extract.ExtractSettings()))
    with Build(tmp_path / "raw", job.key) as build:
        build.finish("extract-00000", read_part(build.folder, "00000", job.parts[0]))
    done = run_module("pipeline.stages.extract", messy, tmp_path / "raw", cwd=tmp_path)
    assert done.returncode == 0
    assert "1 of" in done.stderr and "finished by an earlier run" in done.stderr
