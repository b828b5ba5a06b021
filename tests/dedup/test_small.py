"""The peers' corpus with its planted duplicates, where it lies beside the checkout."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dedup.exact import Exact
from pipeline.dedup.near import Near
from pipeline.dedup.signatures import Looks
from pipeline.documents import Document, to_batch
from tests.dedup.conftest import find_in
from tests.dedup.test_near import jaccard

SMALL = next((p / "shared/peers/small.tar.xz" for p in Path(__file__).resolve().parents if (p / "shared/peers/small.tar.xz").is_file()), Path("absent"))


@pytest.mark.slow
@pytest.mark.skipif(not SMALL.is_file(), reason="the peers' corpus is not beside this checkout")
def test_every_true_pair_is_found_and_what_goes_has_a_partner() -> None:
    """All pairs at 0.8 or more and all planted exact or normalised copies are joined; 95% of what goes has a partner at 0.78 or more."""
    with tarfile.open(SMALL) as archive:
        parts = sorted((m for m in archive if m.name.endswith(".jsonl") and "part-" in m.name), key=lambda member: member.name)
        lines = [json.loads(line) for part in parts for line in archive.extractfile(part) or ()]
        planted = [json.loads(line) for line in archive.extractfile("planted.jsonl") or ()]
        pairs = pq.read_table(io.BytesIO(b"".join(archive.extractfile("near_pairs.parquet") or ()))).to_pylist()
    row_of = {str(line["id"]): row for row, line in enumerate(lines)}
    pairs = [pair for pair in pairs if pair["a"] in row_of and pair["b"] in row_of]
    batches = [to_batch("s", [Document(line["id"], text=line["text"]) for line in lines[n : n + 1000]]) for n in range(0, len(lines), 1000)]
    found = find_in([batches], len(lines), Looks(Exact(), Near()))
    keeper_of = dict(zip(found.removed["row"].to_pylist(), found.removed["duplicate_of"].to_pylist(), strict=True))
    own = [name for batch in batches for name in batch.column("id").to_pylist()]
    cluster = [keeper_of.get(row, own[row]) for row in range(len(lines))]

    true = [(row_of[str(pair["a"])], row_of[str(pair["b"])]) for pair in pairs if pair["jaccard5"] >= 0.8]
    assert len(true) >= 500
    assert all(cluster[one] == cluster[other] for one, other in true)
    copies = [plant for plant in planted if plant["kind"] in ("exact", "exact_norm") and plant["id"] in row_of and plant["of"] in row_of]
    assert copies and all(cluster[row_of[str(plant["id"])]] == cluster[row_of[str(plant["of"])]] for plant in copies)
    partners: dict[int, float] = {}
    for pair in pairs:
        for name in (pair["a"], pair["b"]):
            partners[row_of[str(name)]] = max(partners.get(row_of[str(name)], 0.0), pair["jaccard5"])
    close = [row for row in keeper_of if partners.get(row, 0.0) >= 0.78]
    assert len(close) >= 0.95 * len(keeper_of)
    for row in list(keeper_of)[:20]:
        assert jaccard(lines[row]["text"], lines[own.index(keeper_of[row])]["text"], 3) > 0.5
