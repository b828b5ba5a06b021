"""Run by a Python of its own: datatrove's MinHash over a folder of Parquet, at the defaults of FineWeb. Arguments: INPUT OUTPUT WORKERS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

BUCKETS = 14


def main(source: str, target: str, workers: int) -> None:
    """Signatures, buckets, clusters and the filter, which writes what stays and what goes as Parquet."""
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
    from datatrove.pipeline.dedup import minhash  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found]
    from datatrove.pipeline.writers import ParquetWriter  # type: ignore[import-not-found]
    from datatrove.utils.hashing import HashConfig  # type: ignore[import-not-found]

    config = minhash.MinhashConfig(num_buckets=BUCKETS, hashes_per_bucket=8, hash_config=HashConfig(precision=64))
    files = len(list(Path(source).glob("*.parquet")))
    read, signed, paired, found = ParquetReader(source), f"{target}/signatures", f"{target}/buckets", f"{target}/ids"

    def step(name: str, steps: list[Any], tasks: int, workers: int = workers) -> None:
        LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=workers, logging_dir=f"{target}/logs/{name}").run()

    step("sign", [read, minhash.MinhashDedupSignature(signed, config=config)], files)
    step("pair", [minhash.MinhashDedupBuckets(signed, paired, config=config)], BUCKETS)
    step("cluster", [minhash.MinhashDedupCluster(paired, found, config=config)], 1, 1)
    removed = ParquetWriter(f"{target}/removed")
    step("drop", [read, minhash.MinhashDedupFilter(found, exclusion_writer=removed), ParquetWriter(f"{target}/kept")], files)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
