"""Text stays text, whatever it holds."""

from __future__ import annotations

from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.markup import Markup, tag, visible


@given(st.text(), st.text())
def test_no_text_breaks_out(inside: str, attribute: str) -> None:
    """Any text comes back as the content and the attribute of one element, and nothing else is there."""
    soup = BeautifulSoup(tag("p", inside, title=attribute), "lxml")
    (paragraph,) = soup.find_all("p")
    assert paragraph.find_all() == [] and soup.find("body").find_all() == [paragraph]
    assert paragraph.get_text().splitlines() == visible(inside).splitlines()


def test_attributes() -> None:
    """``class_`` is class, ``_`` is a hyphen, None is left out; markup goes in as it is."""
    assert tag("td", Markup("<b>x</b>"), "<", class_="a b", aria_label=None, data_n=3) == '<td class="a b" data-n="3"><b>x</b>&lt;</td>'
