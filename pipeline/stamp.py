"""python -m pipeline.stamp DATASET NODE: tells make that a node was built: NODE.digest is rewritten only when it changed, NODE.done is new.

A module of its own, since it runs after every stage and must start at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(dataset: Path, node: Path) -> None:
    """Write the two files beside ``node`` from the manifest of ``dataset``."""
    digest = json.loads((dataset / "__manifest.json").read_text(encoding="utf-8"))["digest"] + "\n"
    path = node.with_name(f"{node.name}.digest")
    if not path.is_file() or path.read_text() != digest:
        path.write_text(digest)
    node.with_name(f"{node.name}.done").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
