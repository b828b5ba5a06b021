"""The first pass of ``recurring_lines`` inside the filter stage: the same bytes whoever counts, resumed where it was stopped, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commits import Build
from pipeline.documents import Document, Message, to_batch
from pipeline.errors import SettingsError
from pipeline.filters.length import Length
from pipeline.filters.recurring_lines import RecurringLines
from pipeline.filters.repair_text import RepairText
from pipeline.pools import InProcess
from pipeline.progress import Progress
from pipeline.stages import recurring
from pipeline.stages.judging import judge
from pipeline.stages.recurring import needs_counting, with_lines_counted, with_lines_counted_here
from pipeline.stages.ruleset import Rules

from .conftest import run_module, tree

MENU = "Home\nAll recipes\nContact us"
FOOTER = "This site uses cookies.\nTerms of service | Privacy"


def body(*seed: object) -> str:
    """Text that no other seed gives."""
    return "\n".join(f"Step {part} of recipe {'-'.join(map(str, seed))}: stir {part + 2} times, wait, and taste it again." for part in range(5))


def write_site(path: Path, num_pages: int, first: int = 0) -> Path:
    """Pages of one site as JSON lines."""
    pages = [f"{MENU}\n\n{body(path.stem, first + n)}\n\n{FOOTER}" for n in range(num_pages)]
    path.write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    return path


def write_shards(folder: Path, *texts: list[str]) -> list[Path]:
    """Shards of one source."""
    paths = []
    for number, some in enumerate(texts):
        paths.append(folder / f"{number}.parquet")
        batch = to_batch("site", [Document(f"{number}#row={row}", text=text) for row, text in enumerate(some)])
        pq.write_table(pa.Table.from_batches([batch]), paths[-1])
    return paths


def rules(*before: tuple[str, object], **given: object) -> Rules:
    """Rules with ``recurring_lines`` last."""
    editors = {**dict(before), "recurring_lines": RecurringLines(**given)}  # type: ignore[arg-type]
    return Rules(edit=editors, remove={"length": Length()})  # type: ignore[arg-type]


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    """One, two and three workers write the same dataset; every page is there, without menu and footer, and the cuts rebuild it."""
    for name in ("bread", "soup", "cake"):
        write_site(tmp_path / f"{name}.jsonl", 15)
        assert run_module("pipeline.stages.extract", f"{name}.jsonl", f"raw/{name}", cwd=tmp_path).returncode == 0
    trees = []
    for workers in ("1", "2", "3"):
        given = ["raw", f"clean{workers}", "--workers", workers, "--set", "edit.recurring_lines={}", "--set", "dedup.near=false"]
        done = run_module("pipeline.stages.filter", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        trees.append(tree(tmp_path / f"clean{workers}"))
    assert trees[0] == trees[1] == trees[2]
    kept = pq.ParquetDataset(sorted((tmp_path / "clean1").glob("part-*.parquet"))).read().to_pylist()
    assert sorted(row["text"] for row in kept) == sorted(body(name, n) for name in ("bread", "soup", "cake") for n in range(15))
    cuts = pq.ParquetDataset(sorted((tmp_path / "clean1" / "__edited").glob("*.parquet"))).read().to_pylist()
    assert {cut["rule"] for cut in cuts} == {"recurring_lines.header.in_15", "recurring_lines.footer.in_15"}
    texts = {row["id"]: row["text"] for row in kept}
    for cut in sorted(cuts, key=lambda cut: -cut["seq"]):
        text = texts[cut["id"]]
        texts[cut["id"]] = text[: cut["start"]] + cut["before"] + text[cut["start"] :]
    assert sorted(texts.values()) == sorted(f"{MENU}\n\n{body(name, n)}\n\n{FOOTER}" for name in ("bread", "soup", "cake") for n in range(15))
    counts = json.loads((tmp_path / "clean1" / "__manifest.json").read_text())["counts"]
    assert all(of["edited"] == {"recurring_lines": 15} for of in counts.values())


def test_lines_are_counted_over_all_shards(tmp_path: Path) -> None:
    """What recurs in no shard alone recurs in the source."""
    shards = write_shards(tmp_path, *([f"{body(n, m)}\n{FOOTER}" for m in range(4)] for n in range(4)))
    found = judge(pq.read_table(shards[0]).to_batches()[0], with_lines_counted_here(tmp_path, shards, rules()))
    assert found.kept.column("text").to_pylist() == [body(0, m) for m in range(4)]


def test_earlier_editors_come_first_in_both_passes(tmp_path: Path) -> None:
    """A footer that only a repair makes the same everywhere is counted as it stands after the repair."""
    broken = ["Caf\u00e9 of the old harbour town", "Caf\u00c3\u00a9 of the old harbour town", "Cafe\u0301 of the old harbour town"]
    shards = write_shards(tmp_path, [f"{body(n)}\n{broken[n % 3]}" for n in range(12)])
    batch = pq.read_table(shards[0]).to_batches()[0]
    alone = judge(batch, with_lines_counted_here(tmp_path, shards, rules()))
    assert not len(alone.cuts)
    repaired = judge(batch, with_lines_counted_here(tmp_path, shards, rules(("repair_text", RepairText()))))
    assert repaired.kept.column("text").to_pylist() == [body(n) for n in range(12)]


def test_what_is_left_of_a_page_meets_the_length_rule(tmp_path: Path) -> None:
    """A page of which a word remains, or nothing where that is allowed, goes to the length rule and is removed whole, with its reason."""
    shards = write_shards(tmp_path, [*(f"{MENU}\n{body(n)}\n{FOOTER}" for n in range(12)), f"{MENU}\n{FOOTER}"])
    batch = pq.read_table(shards[0]).to_batches()[0]
    found = judge(batch, with_lines_counted_here(tmp_path, shards, rules(max_share=1.0)))
    assert len(found.kept) == 12
    assert found.removed.select(["text", "rule", "reason"]).to_pylist() == [{"text": "", "rule": "length", "reason": "too short"}]
    with pytest.raises(SettingsError, match="leaves some documents empty"):
        needs_counting(Rules(edit={"recurring_lines": RecurringLines(max_share=1.0)}))


def test_a_finished_count_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop only the shards that were not counted are, and the table is that of an undisturbed run."""
    shards = write_shards(tmp_path, *([f"{body(n, m)}\n{FOOTER}" for m in range(5)] for n in range(3)))
    counted: list[str] = []
    count_shard = recurring.count_shard

    def stops_once(folder: Path, name: str, task: recurring.Counting) -> object:
        counted.append(name)
        if len(counted) == 2:
            raise RuntimeError("the disk is full")
        return count_shard(folder, name, task)

    monkeypatch.setattr(recurring, "count_shard", stops_once)
    with pytest.raises(RuntimeError, match="disk"), Build(tmp_path / "out", "key") as build:
        with_lines_counted(build, shards, rules(), InProcess(), Progress("filter", quiet=True))
    with Build(tmp_path / "out", "key") as build:
        for _ in range(2):
            with_lines_counted(build, shards, rules(), InProcess(), Progress("filter", quiet=True))
        again = (build.folder / recurring.TABLE_FILE).read_bytes()
    assert counted == ["00000", "00001", "00001", "00002"]
    with_lines_counted_here(tmp_path / "fresh", shards, rules())
    assert again == (tmp_path / "fresh" / recurring.TABLE_FILE).read_bytes()


def test_it_costs_nothing_when_it_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the editor no shard is read, and the rules are the same object."""
    monkeypatch.setattr(recurring, "read_batches", None)
    without = Rules(remove={"length": Length()})
    assert with_lines_counted_here(tmp_path, [tmp_path / "none.parquet"], without) is without


def test_conversations_pass_through(tmp_path: Path) -> None:
    """A dataset of conversations alone gives an empty table, and nothing is cut."""
    path = tmp_path / "talk.parquet"
    talk = [Document(str(n), messages=(Message("user", "What?"), Message("assistant", FOOTER))) for n in range(20)]
    pq.write_table(pa.Table.from_batches([to_batch("talk", talk)]), path)
    found = judge(pq.read_table(path).to_batches()[0], with_lines_counted_here(tmp_path, [path], rules()))
    assert len(found.kept) == 20 and not len(found.cuts)
