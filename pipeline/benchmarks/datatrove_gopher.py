"""Run by a Python of its own: datatrove's Gopher filters over a folder of Parquet, with one worker. Arguments: INPUT OUTPUT."""

from __future__ import annotations

import sys


def main(source: str, target: str) -> None:
    """Read Parquet, apply both Gopher filters at their defaults, write what stays as Parquet."""
    from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import ParquetReader  # type: ignore[import-not-found]
    from datatrove.pipeline.writers import ParquetWriter  # type: ignore[import-not-found]

    steps = [ParquetReader(source), GopherRepetitionFilter(), GopherQualityFilter(), ParquetWriter(f"{target}/kept")]
    LocalPipelineExecutor(pipeline=steps, tasks=1, workers=1, logging_dir=f"{target}/logs").run()


if __name__ == "__main__":
    main(*sys.argv[1:])
