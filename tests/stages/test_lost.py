"""Units that end their worker, as the stages' tasks treat them: a row of the quarantine each, counted, and all neighbours as they were."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commits import WORK
from pipeline.datasets import file_sha256
from pipeline.documents import Document, to_batch
from pipeline.extractors.sources import SourceSettings, list_parts, read_part
from pipeline.packing.settings import TokenizeSettings
from pipeline.packing.training_bpe import train_tokenizer, write_trained
from pipeline.report import Report
from pipeline.stages.cleaning import Judging, judge_shard
from pipeline.stages.filter import read_settings
from pipeline.stages.tokenize import Encoding, encode_shard
from pipeline.units import Orders, watching

TEXTS = [f"Text number {n} is about bread, gardens and the patience that both ask for." for n in range(9)]
LOST = Orders({2: "ended its worker: SIGSEGV", 7: "did not end: stopped by the watchdog"})


def shard(folder: Path) -> Path:
    """A shard of documents."""
    path = folder / "shard.parquet"
    pq.write_table(pa.Table.from_batches([to_batch("here", [Document(f"text#row={n}", text=text) for n, text in enumerate(TEXTS)])]), path)
    return path


def folder_for(work: Path) -> Path:
    """Where a task writes."""
    (work / WORK).mkdir(parents=True)
    return work


def quarantine(folder: Path) -> list[tuple[str, str]]:
    """Locator and error of each row."""
    return [(row["locator"], row["error"]) for row in pq.read_table(folder / "__quarantine").to_pylist()]


def check(counts: object, what: str) -> None:
    """The counts balance, with the two in quarantine."""
    report = Report()
    report.add_plain(counts)  # type: ignore[arg-type]
    report.check(what)
    assert report.total().quarantined == {"ended its worker": 1, "did not end": 1}


def test_a_file_of_a_source(tmp_path: Path) -> None:
    """extract: the file goes to quarantine, and its neighbours give their documents."""
    (tmp_path / "raw").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "raw" / f"{number}.txt").write_text(text)
    (part,) = list_parts("raw", SourceSettings(str(tmp_path / "raw")), file_sha256)
    out = folder_for(tmp_path / "out")
    with watching(tmp_path / "mark", LOST):
        record = read_part(out, "00000", part)
    check(record["counts"], "extract")
    assert quarantine(out) == [("2.txt", LOST.lost[2]), ("7.txt", LOST.lost[7])]
    assert [text for row, text in enumerate(TEXTS) if row not in LOST.lost] == pq.read_table(out / "00000-000.parquet")["text"].to_pylist()


def test_a_document_of_the_filter(tmp_path: Path) -> None:
    """filter: the document goes to quarantine, and its neighbours are judged."""
    out = folder_for(tmp_path / "out")
    (tmp_path / "filter.yaml").write_text("remove:\n  length: {min_chars: 5}\n")
    with watching(tmp_path / "mark", LOST):
        record = judge_shard(out, "00000", Judging(shard(tmp_path), read_settings(tmp_path / "filter.yaml")))
    check(record["counts"], "filter")
    assert [locator for locator, _ in quarantine(out)] == ["text#row=2", "text#row=7"]
    assert len(pq.read_table(out / "00000-000.parquet")) == len(TEXTS) - 2


def test_a_document_of_the_tokenizing(tmp_path: Path) -> None:
    """tokenize: the document goes to quarantine and becomes no sequence; its neighbours do."""
    settings = TokenizeSettings()
    tokenizer = train_tokenizer(iter([pa.array(TEXTS, pa.large_string())]), settings.own_tokenizer)
    write_trained(tmp_path / "tokenizer", tokenizer, settings.own_tokenizer, None)
    out = folder_for(tmp_path / "out")
    with watching(tmp_path / "mark", LOST):
        record = encode_shard(out, "00000", Encoding(shard(tmp_path), str(tmp_path / "tokenizer"), None, 128, settings, False))
    check(record["counts"], "tokenize")
    assert [locator for locator, _ in quarantine(out)] == ["text#row=2", "text#row=7"]
    assert record["counts"]["here"]["kept"] == len(TEXTS) - 2
