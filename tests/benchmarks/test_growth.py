"""The growth benchmark, on sizes that take seconds."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.benchmarks import growth


def test_curves_and_table_of_a_small_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every size runs through the three stages; the page gets a row for each and names a drawing that is one."""
    monkeypatch.setattr(growth, "GROWTH", (1, 2))
    page = tmp_path / "scale.md"
    assert growth.main(["--megabytes", "1", "--output", str(page)]) == 0
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert [(size.strip(), stage.strip()) for size, stage, *_ in rows] == [(size, stage) for size in "12" for stage in growth.STAGES]
    assert all(float(seconds) > 0 and float(peak) > 50 for _, _, seconds, _, _, peak in rows)
    assert ElementTree.parse(tmp_path / growth.DRAWING).getroot().tag.endswith("svg")
