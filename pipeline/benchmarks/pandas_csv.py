"""What pandas' C engine does with a CSV file in chunks: the same Parquet as ``tables`` or as ``extract``. Run as a script of its own.

python pandas_csv.py table|documents INPUT OUTPUT
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

CHUNK_ROWS = 10_000


def main(form: str, path: str, output: str) -> None:
    """Read ``path`` as text, nothing as missing, and write Parquet with Zstandard and page checksums."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None
    start = 0
    for chunk in pd.read_csv(path, dtype=str, keep_default_na=False, chunksize=CHUNK_ROWS):
        table = pa.Table.from_pandas(chunk, preserve_index=False) if form == "table" else _documents(chunk, start)
        start += len(chunk)
        writer = writer or pq.ParquetWriter(output, table.schema, compression="zstd", write_page_checksum=True)
        writer.write_table(table)
    writer.close()


def _documents(chunk: Any, start: int) -> Any:
    """The columns of documents, as someone who knows pandas would make them."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.large_string()), ("train", pa.bool_()), ("extra", pa.string())])
    places = [f"in.csv#row={number}" for number in range(start, start + len(chunk))]
    meta = [
        json.dumps({"extractor": "csv text from title, body", "id": one, "title": title}, ensure_ascii=False)
        for one, title in zip(chunk["id"], chunk["title"], strict=True)
    ]
    return pa.table(
        {
            "id": [hashlib.sha256(f"in\0{place}".encode()).hexdigest()[:32] for place in places],
            "source": pa.array(["in"] * len(chunk)),
            "locator": pa.array(places),
            "text": pa.array(chunk["title"] + "\n\n" + chunk["body"], pa.large_string()),
            "messages": pa.nulls(len(chunk), pa.list_(message)),
            "group": pa.nulls(len(chunk), pa.string()),
            "meta": pa.array(meta),
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
