"""Inputs by URL: what lies in a store gives the bytes that it gives from a folder; a mistake is one line; no key is ever shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.remote import Url, local, place
from tests.stages.conftest import run_module, tree, write_messy_folder

SECRET = "s3cr3t-of-the-tests"


@pytest.mark.parametrize("text", [f"s3://key:{SECRET}@bucket/raw", f"s3://{SECRET}@bucket", f"sftp://me:{SECRET}@host/x", f"gs://b/x?token={SECRET}"])
def test_a_url_with_a_key_is_refused_without_showing_it(text: str) -> None:
    """A key in a URL would end in histories and process lists: it is refused, and the message does not repeat it."""
    with pytest.raises(UsageError) as caught:
        place(text)
    assert SECRET not in str(caught.value)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_what_is_no_url_is_a_path(text: str) -> None:
    """Every text is a path, a URL or a clear error; a path stays as it was written."""
    try:
        found = place(text)
    except (UsageError, ValueError):
        assert "://" in text
        return
    assert isinstance(found, Url) or found == Path(text) or text.lower().startswith("file://")


def test_paths_and_urls_are_told_apart() -> None:
    """Windows-like and odd names are paths, file:// is one too, and a web server is refused by name."""
    assert place("raw//x") == Path("raw/x")
    assert place("file:///tmp/a%20b") == Path("/tmp/a b")
    assert place("s3://bucket/raw/") == Url("s3://bucket/raw")
    with pytest.raises(UsageError, match="web server cannot list"):
        place("https://example.org/data")
    with pytest.raises(UsageError, match="is not on this machine"):
        local(Url("s3://bucket/raw"))


def test_an_unknown_scheme_names_the_nearest() -> None:
    """A slip in the scheme is told with the right one."""
    pytest.importorskip("fsspec")
    with pytest.raises(UsageError, match="unknown scheme; did you mean 's3'"):
        Url("s33://bucket/raw").files()


def test_a_missing_package_is_one_line() -> None:
    """A scheme that fsspec knows and whose package is not here is told as that."""
    fsspec = pytest.importorskip("fsspec")
    missing = next((name for name in ("dbfs", "gdrive", "oci", "webhdfs", "box") if not _works(fsspec, name)), None)
    if missing is None:
        pytest.skip("every package is installed")
    with pytest.raises(UsageError) as caught:
        Url(f"{missing}://x/y").files()
    assert "\n" not in str(caught.value)


def _works(fsspec: object, name: str) -> bool:
    try:
        fsspec.get_filesystem_class(name)  # type: ignore[attr-defined]
    except (ImportError, ValueError):
        return False
    return True


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """The environment with which a loopback S3 server is reached, a server of its own for these tests."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    start = [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"]
    server = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    env = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    yield env
    server.terminate()
    server.wait(timeout=10)


def upload(folder: Path, bucket: str, prefix: str, env: Mapping[str, str]) -> None:
    """The files of a folder as objects."""
    from pyarrow import fs

    scheme, _, host = env["AWS_ENDPOINT_URL"].partition("://")
    keys = {"access_key": env["AWS_ACCESS_KEY_ID"], "secret_key": env["AWS_SECRET_ACCESS_KEY"]}
    there = fs.S3FileSystem(**keys, scheme=scheme, endpoint_override=host, region="us-east-1", allow_bucket_creation=True)
    there.create_dir(bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with there.open_output_stream(f"{bucket}/{prefix}/{path.relative_to(folder).as_posix()}") as stream:
                stream.write(path.read_bytes())


def test_a_bucket_gives_what_a_folder_gives(store: dict[str, str], tmp_path: Path) -> None:
    """Raw files, then the committed dataset made of them, read from a store: all bytes as from a folder, no copy left, no key written."""
    write_messy_folder(tmp_path / "raw")
    (tmp_path / "raw" / ".hidden.txt").write_text("left out")
    upload(tmp_path / "raw", "corpus", "raw", store)
    env = {**os.environ, **store}
    done = run_module("pipeline.stages.filter", "raw", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_module("pipeline.stages.filter", "s3://corpus/raw", "there", "--workers", "2", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    upload(tmp_path / "here", "corpus", "sets/here", store)
    run_module("pipeline.stages.filter", "here", "again-here", cwd=tmp_path)
    for number, url in enumerate(("s3://corpus/sets/here", "s3://corpus/sets/")):
        done = run_module("pipeline.stages.filter", url, f"again-{number}", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        assert tree(tmp_path / f"again-{number}") == tree(tmp_path / "again-here")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_source_of_the_settings_by_url(store: dict[str, str], tmp_path: Path) -> None:
    """A source's path in extract.yaml may be a URL; a changed object is read again, an unchanged part is taken over."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("The first text is about bread and the time that it takes to rise.")
    upload(tmp_path / "raw", "settings", "texts", store)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "extract.yaml").write_text("sources:\n  texts: {path: 's3://settings/texts'}\n")
    env = {**os.environ, **store}
    for text in ("", "Another text is about gardens and the patience that they ask for."):
        if text:
            (tmp_path / "raw" / "b.txt").write_text(text)
            upload(tmp_path / "raw", "settings", "texts", store)
        done = run_module("pipeline.stages.extract", "--source", "texts", "out", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
    run_module("pipeline.stages.extract", "raw", "local", cwd=tmp_path)
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out")["text"].to_pylist() == pq.read_table(tmp_path / "local")["text"].to_pylist()


@pytest.mark.parametrize(
    ("url", "env", "said"),
    [
        ("s3://no-such-bucket-here/raw", {}, "no such file or folder"),
        ("s3://corpus/raw", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be read"),
    ],
)
def test_mistakes_are_one_line(url: str, env: dict[str, str], said: str, store: dict[str, str], tmp_path: Path) -> None:
    """No such bucket, and a store that does not answer: one line with what to do, exit code 2, no key."""
    done = run_module("pipeline.stages.filter", url, "out", cwd=tmp_path, env={**os.environ, **store, **env})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_outputs_stay_here(tmp_path: Path) -> None:
    """A URL as output is refused with what to do."""
    (tmp_path / "raw.txt").write_text("some text")
    done = run_module("pipeline.stages.filter", "raw.txt", "s3://bucket/clean", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "is not on this machine" in done.stderr
