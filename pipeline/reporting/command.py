"""python -m pipeline report: one page that shows what became of the data, from the first unit read to the last token.

It is a single file without scripts, opens in any browser, and is the same for the same data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import command
from pipeline.commits import writing
from pipeline.errors import UsageError
from pipeline.inspection.lookup import built_in
from pipeline.reporting.page import page

REPORT = "report.html"


def main(given: Sequence[str]) -> int:
    """The command; raises UsageError when nothing was built yet."""
    parser = command.parser("python -m pipeline report", __doc__ or "")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="FOLDER", help="what was built (default: %(default)s)")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="another data folder to compare it with")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page to write (default: {REPORT} in the data folder)")
    arguments = parser.parse_args(given)
    for folder in (arguments.data, arguments.base):
        if folder is not None:
            _require_built(folder)
    out = arguments.out or arguments.data / REPORT
    text = page(arguments.data, arguments.base)
    with writing(out) as file:
        file.write(text.encode())
    if not arguments.quiet:
        print(f"report: {out} ({len(text.encode()) / 1000:,.0f} kB)")
        print("  next: open it in a browser; python -m pipeline why ID and trace ID say more about a document")
    return 0


def _require_built(folder: Path) -> None:
    built = built_in(command.require(folder))
    if not built.raw and not built.clean and not built.tokens:
        raise UsageError(str(folder), "holds nothing that was built", "run: make extract clean tokenize")
