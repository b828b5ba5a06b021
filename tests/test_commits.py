"""A dataset is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import commits
from pipeline.commits import Build, ShardWriter
from pipeline.datasets import Dataset, committed, open_dataset, read_batches, verify
from pipeline.documents import SCHEMA, Document, to_batch
from pipeline.errors import DatasetError, UsageError


def batch(*texts: str) -> pa.RecordBatch:
    """A batch of plain documents."""
    return to_batch("s", [Document(f"{i}", text=text) for i, text in enumerate(texts)])


def build(target: Path, key: str, *texts: str) -> Dataset:
    """A dataset of one shard."""
    with Build(target, key) as build_:
        if build_.ready:
            return build_.ready
        with ShardWriter(build_.folder, "", "00000", SCHEMA, always=True) as writer:
            writer.write(batch(*texts))
        return build_.commit(writer.shards, {"stage": "extract"}, {})


def texts_of(folder: Path) -> list[str]:
    """The texts of a dataset."""
    return [text for file in open_dataset(folder).files() for piece in read_batches(file) for text in piece.column("text").to_pylist()]


@pytest.fixture(params=["exchange", "two renames"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways to put a folder in another's place."""
    if request.param == "two renames":
        monkeypatch.setattr(commits, "_rename_exchange", lambda one, two: False)
    yield request.param


def test_replaces_the_old_dataset(tmp_path: Path, renames: str) -> None:
    """A second build takes the first one's place and leaves nothing beside it."""
    build(tmp_path / "clean", "k1", "old")
    build(tmp_path / "clean", "k2", "new", "er")
    assert texts_of(tmp_path / "clean") == ["new", "er"]
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]
    assert verify(open_dataset(tmp_path / "clean")) == []


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Everything but __run.json is the same when it is built again elsewhere."""
    for name in ("a", "b"):
        build(tmp_path / name, "k", "one", "two")
    for file in ("part-00000.parquet", "__manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_same_key_builds_nothing(tmp_path: Path) -> None:
    """A build of the same key finds its work done."""
    build(tmp_path / "clean", "k", "one")
    with Build(tmp_path / "clean", "k") as again:
        assert again.ready is not None and again.ready.key == "k"


def test_failure_keeps_the_old_dataset(tmp_path: Path) -> None:
    """An error in the middle leaves the old dataset readable and the finished tasks for the next run."""
    build(tmp_path / "clean", "k1", "old")
    with pytest.raises(ZeroDivisionError), Build(tmp_path / "clean", "k2") as build_:
        build_.finish("step-0", {"n": 1})
        raise ZeroDivisionError
    assert texts_of(tmp_path / "clean") == ["old"]
    with Build(tmp_path / "clean", "k2") as build_:
        assert build_.record("step-0") == {"n": 1}


def test_killed_between_manifest_and_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that died after the manifest was written is finished by the next one."""
    monkeypatch.setattr(Build, "_exchange", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "clean", "k", "one")
    monkeypatch.undo()
    assert not (tmp_path / "clean").exists()
    with Build(tmp_path / "clean", "k") as build_:
        assert build_.ready is not None
    assert texts_of(tmp_path / "clean") == ["one"]


def test_killed_between_two_renames(tmp_path: Path) -> None:
    """Where names cannot be exchanged, the old dataset comes back after a death between the two renames."""
    build(tmp_path / "clean", "k1", "old")
    (tmp_path / "clean").rename(tmp_path / ".clean.old")
    with Build(tmp_path / "clean", "k2"):
        assert texts_of(tmp_path / "clean") == ["old"]


def test_two_runs_at_once(tmp_path: Path) -> None:
    """The second run says that another one is writing, and does nothing."""
    with Build(tmp_path / "clean", "k"), pytest.raises(UsageError, match="another run"), Build(tmp_path / "clean", "k"):
        pass
    with Build(tmp_path / "clean", "k"):
        pass


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    """A folder with someone's files in it is never replaced."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="not a dataset of ours"), Build(tmp_path / "mine", "k"):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """Verify finds any changed byte of a shard; reading never gives other rows without an error."""
    dataset = build(tmp_path / "clean", "k", "some text here", "more of it")
    path = dataset.files()[0]
    original = path.read_bytes()
    for position in range(0, len(original), 7):
        damaged = bytearray(original)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        assert verify(dataset), position
    path.write_bytes(original[:-1])
    with pytest.raises(DatasetError, match="bytes instead of"):
        dataset.files()
    assert committed(tmp_path / "clean") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1}'])
def test_damaged_manifest(tmp_path: Path, damage: bytes) -> None:
    """A damaged manifest is one clear error."""
    build(tmp_path / "clean", "k", "one")
    (tmp_path / "clean" / "__manifest.json").write_bytes(damage)
    with pytest.raises(DatasetError, match="is damaged"):
        open_dataset(tmp_path / "clean")


def test_manifest_that_names_other_shards(tmp_path: Path) -> None:
    """A manifest edited by hand does not agree with its own digest."""
    build(tmp_path / "clean", "k", "one")
    path = tmp_path / "clean" / "__manifest.json"
    manifest = json.loads(path.read_text())
    manifest["shards"][0]["rows"] = 7
    path.write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="does not agree with itself"):
        open_dataset(tmp_path / "clean")


def test_shards_and_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long input is cut into shards and row groups of bounded size, none of its rows lost."""
    monkeypatch.setattr(commits, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(commits, "SHARD_BYTES", 5_000)
    with ShardWriter(tmp_path, "", "00000", SCHEMA) as writer:
        for _ in range(9):
            writer.write(batch(*[f"text {i} " * 5 for i in range(25)]))
    assert len(writer.shards) > 3
    assert sum(shard.rows for shard in writer.shards) == 9 * 25


def test_replaced_dataset_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    """After a death right after the exchange, the old dataset lies in the partial folder; it never comes back as the new one."""
    build(tmp_path / "clean", "k1", "old")
    (tmp_path / "clean").rename(tmp_path / ".clean.partial-k2")
    build(tmp_path / "clean", "k2", "new")
    assert texts_of(tmp_path / "clean") == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["clean"]


def test_shard_that_is_linked_twice_leaves_no_second_name(tmp_path: Path) -> None:
    """A shard that was taken over and numbered before a kill is numbered again without a leftover."""
    old = build(tmp_path / "old", "k0", "a text")
    for died in (True, False):
        with Build(tmp_path / "new", "k1") as build_:
            shard = build_.take(old.folder, old.shards[0], "taken", 0)
            if died:
                build_.finish("some", {})
                (build_.folder / "part-00000.parquet").unlink(missing_ok=True)
                (build_.folder / "part-00000.parquet").hardlink_to(build_.folder / shard.path)
            else:
                build_.commit([shard], {"stage": "extract"}, {})
    assert verify(open_dataset(tmp_path / "new")) == []


def test_torn_record_is_no_record(tmp_path: Path) -> None:
    """A record that a loss of power left empty means that its task runs again."""
    with Build(tmp_path / "clean", "k") as build_:
        (build_.work / "step-0.json").write_bytes(b"")
        assert build_.record("step-0") is None


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A manifest may name a file whose name is not UTF-8."""
    with Build(tmp_path / "clean", "k") as build_:
        with ShardWriter(build_.folder, "", "00000", SCHEMA, always=True) as writer:
            writer.write(batch("a text"))
        build_.commit(writer.shards, {"inputs": [{"name": "odd\udcff.txt"}]}, {})
    assert open_dataset(tmp_path / "clean").manifest["inputs"][0]["name"] == "odd\udcff.txt"


def test_link_as_target(tmp_path: Path) -> None:
    """Where the target is a link to a folder, the folder is replaced and the link stays."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "clean").symlink_to("elsewhere")
    build(tmp_path / "clean", "k1", "old")
    build(tmp_path / "clean", "k2", "new")
    assert (tmp_path / "clean").is_symlink() and texts_of(tmp_path / "elsewhere") == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "elsewhere"]


def test_nothing_done_leaves_nothing(tmp_path: Path) -> None:
    """A build that failed before its first task leaves no folder behind."""
    with pytest.raises(UsageError), Build(tmp_path / "clean", "k"):
        raise UsageError("x", "is wrong")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be made"), Build(tmp_path / "file" / "clean", "k"):
        pass
