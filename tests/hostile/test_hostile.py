"""Every hostile file of the gold data meets what is written of it: never a crash, a hang, a leak, or a row that goes without a word.

All sources lie in one folder and go through the command once, as they would for a user: a bad file that harmed its neighbours would be seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest

from pipeline.commits import Build
from pipeline.datasets import Shard, file_sha256, open_dataset, verify

CHECKOUT = Path(__file__).resolve().parents[2]
HOSTILE = CHECKOUT.parent / "shared" / "gold" / "hostile"
pytestmark = pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not beside the project")

CANARIES = "PIPELINE_CANARY*"
MAX_RSS_BYTES = 1_000_000_000
"""The least limit of a bomb; the whole folder must keep it."""

OTHER_WAYS = ("config", "model")
"""Not sources: settings, templates and weights have tests of their own below."""


def cases() -> list[dict[str, Any]]:
    """The expectations, one a file."""
    path = HOSTILE / "expectations.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


OTHER_NUMBER = "location_coordinates.csv"
"""The file beside it has another telephone number, as the collection has it that both come from."""

SOURCES = [case for case in cases() if case["path"].split("/")[0] not in OTHER_WAYS]
Found = dict[str, dict[str, list[dict[str, Any]]]]


def run(module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m MODULE ARGUMENTS`` with an address to nowhere as its only way out."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False
    )


PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of hostile sources after extraction, which must end well, within its memory, and with no file elsewhere."""
    folder = tmp_path_factory.mktemp("hostile")
    command = [sys.executable, "-m", "pipeline.stages.extract", str(HOSTILE), "out", "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", PEAK, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stdout.rpartition("peak ")[2]) < MAX_RSS_BYTES
    assert [path.name for path in folder.iterdir()] == ["out"]
    return folder / "out"


@pytest.fixture(scope="module")
def found(out: Path) -> Found:
    """What became of the units of each file: kept, removed and quarantined rows."""
    rows: Found = defaultdict(lambda: {"": [], "__removed": [], "__quarantine": []})
    dataset = open_dataset(out)
    for part in ("", "__removed", "__quarantine"):
        for path in dataset.files(part):
            for row in pq.read_table(path).to_pylist():
                rows[unquote(row["locator"].partition("#")[0])][part].append(row)
    return rows


@pytest.mark.parametrize("case", SOURCES, ids=[case["path"] for case in SOURCES])
def test_source(case: dict[str, Any], found: Found) -> None:
    """What must hold for the file: read, or in quarantine with a reason; its rows and texts as expected; nothing without a word."""
    rows = found.get(case["path"])
    assert rows is not None, "no row says what became of the file"
    kept, removed, quarantined = rows.values()
    assert all(row["error"] for row in quarantined) and all(row["reason"] for row in removed)
    if case["must"] == "ok":
        assert not quarantined, quarantined[0]["error"]
    if case["must"] == "quarantine" or (case["must"] == "reject" and not case["path"].startswith("parquet/flip_")):
        assert quarantined
    texts = json.dumps([row["text"] or row["messages"] for row in kept], ensure_ascii=False)
    assert case.get("must_contain", "") in texts
    assert case.get("must_contain_or_quarantine", "") in texts or quarantined
    assert "must_not_contain" not in case or case["must_not_contain"] not in texts
    assert len(kept) + len(removed) + len(quarantined) == case.get("n_rows", len(kept) + len(removed) + len(quarantined))


FLIPPED = [case["path"] for case in SOURCES if case["path"].startswith("parquet/flip_")]


@pytest.mark.parametrize("name", FLIPPED)
def test_a_flipped_bit_of_a_dataset(name: str, tmp_path: Path) -> None:
    """A dataset whose shard has one bit changed is refused: by the digest in the manifest, whatever the file's own checksums cover."""
    good = HOSTILE / "parquet" / "good.parquet"
    with Build(tmp_path / "data", "0" * 64) as build:
        shard = build.folder / "part-00000.parquet"
        shard.write_bytes(good.read_bytes())
        build.commit([Shard(shard.name, pq.ParquetFile(good).metadata.num_rows, good.stat().st_size, file_sha256(good))], {}, {})
    assert verify(open_dataset(tmp_path / "data")) == []
    (tmp_path / "data" / "part-00000.parquet").write_bytes((HOSTILE / name).read_bytes())
    assert verify(open_dataset(tmp_path / "data"))


def test_csv_rows_are_exact(tmp_path: Path) -> None:
    """The tables of the spectrum are what the files beside them say, cell for cell."""
    told = [case for case in SOURCES if "expected" in case and not case["path"].endswith(OTHER_NUMBER)]
    assert told
    for number, case in enumerate(told):
        assert run("pipeline", "tables", HOSTILE / case["path"], f"out{number}", "--quiet", cwd=tmp_path).returncode == 0
        (table,) = (tmp_path / f"out{number}").glob("*.parquet")
        assert pq.read_table(table).to_pylist() == json.loads((HOSTILE / case["expected"]).read_text()), case["path"]


SETTINGS = [case for case in cases() if case["kind"] == "yaml"]


@pytest.mark.parametrize("case", SETTINGS, ids=[case["path"] for case in SETTINGS])
def test_settings(case: dict[str, Any], tmp_path: Path) -> None:
    """As settings of a stage each is refused in lines that name the file's problem, without a traceback, and nothing of it is run."""
    (tmp_path / "in.txt").write_text("A text that is long enough to be kept by every rule there is.")
    done = run("pipeline.stages.filter", "in.txt", "out", "--settings", HOSTILE / case["path"], cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.strip()
    assert not (tmp_path / "out").exists()


TEMPLATES = [case for case in cases() if case["kind"] == "jinja"]


@pytest.mark.parametrize("case", TEMPLATES, ids=[case["path"] for case in TEMPLATES])
def test_chat_templates(case: dict[str, Any], tmp_path: Path, tiny_tokenizer: Path) -> None:
    """As the template of a tokenizer each is refused in one line."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in tiny_tokenizer.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_bytes((HOSTILE / case["path"]).read_bytes())
    turns = [{"role": "user", "content": "What is a key?"}, {"role": "assistant", "content": "What names a row of a table."}]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": turns}))
    done = run("pipeline.stages.tokenize", "talk.jsonl", "out", "--tokenizer", folder, "--length", 64, cwd=tmp_path)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


WEIGHTS = [case for case in cases() if case["path"].startswith("model/")]


@pytest.mark.parametrize("case", WEIGHTS, ids=[case["path"] for case in WEIGHTS])
def test_weights(case: dict[str, Any], tmp_path: Path, tiny_model: Path) -> None:
    """As the weights of a base model each is refused in one line: pickles unopened, damaged files, and a right file of another model."""
    from pipeline.errors import GristmillError
    from pipeline.training.model import load_base
    from pipeline.training.recipe import Recipe

    for name in ("config.json", "generation_config.json"):
        if (tiny_model / name).is_file():
            (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    weights = tmp_path / ("model.safetensors" if case["kind"] == "safetensors" else "pytorch_model.bin")
    weights.write_bytes((HOSTILE / case["path"]).read_bytes())
    with pytest.raises(GristmillError) as caught:
        load_base(tmp_path, Recipe(base_model=str(tmp_path), adapter="lora", bf16=False), "fp32")
    assert len(str(caught.value).splitlines()) == 1


def test_the_canaries_are_not_there() -> None:
    """After all of the above nothing that a file told to run has run."""
    assert not list(Path("/tmp").glob(CANARIES))
