"""The dialect of a sample: read at once, and left off early, with what reading it record by record to its end would give."""

from __future__ import annotations

import io

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.extractors import dialects
from pipeline.extractors.dialects import Dialect, Records, detect
from pipeline.extractors.lines import lines

SAMPLE = st.lists(st.text(st.sampled_from("ab1 ,;\"'\\\r\n|é"), max_size=12), max_size=12).map("\n".join).map(str.encode)
BYTES = st.tuples(SAMPLE, st.sampled_from([b"", b"\xff", b"x,\xff\n"]), SAMPLE).map(b"".join)
DIALECT = st.builds(Dialect, st.sampled_from(",;|"), st.sampled_from(['"', "'", None]), st.sampled_from([None, "\\"]), st.booleans()).filter(
    lambda dialect: dialect.quote is not None or dialect.escape is None
)


@settings(max_examples=300, deadline=None)
@given(BYTES, DIALECT)
@example(b'a,"b\n\nc",d\n"x" y,1\n"open,1\n2,3\n', Dialect())
def test_a_sample_is_read_as_a_file_is(data: bytes, dialect: Dialect) -> None:
    """Numbers of lines and cells are those of the reader that goes record by record."""
    sample = list(lines(io.BytesIO(data), 1000))
    expected = [(record.num_lines, record.cells or []) for record in Records(sample, dialect)]
    assert list(dialects._Sample.of(sample, "utf-8", True).records(dialect)) == expected


@settings(max_examples=200, deadline=None)
@given(BYTES, st.booleans())
@example(b"a,b;c\n1,2;3\n4,5;6\nx;y\n", True)
def test_leaving_off_early_changes_nothing(data: bytes, is_whole: bool) -> None:
    """The dialect chosen is the first of the best, all of them read to the end."""
    sample = list(lines(io.BytesIO(data), 1000))
    found = dialects._Sample.of(sample, "utf-8", is_whole)
    every = [dialects._fit(found, dialect, -1.0) for dialect in dict.fromkeys(dialects._candidates("".join(found.texts)))]
    assert detect(sample, "utf-8", is_whole=is_whole) == max(every, key=lambda fit: round(fit.score, 6))
