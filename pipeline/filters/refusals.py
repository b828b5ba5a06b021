"""Removes refusals and answers that hold nothing but disclaimers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from pipeline.documents import PLAIN, turns
from pipeline.filters.assessment import assess_pieces
from pipeline.filters.cut_slop import SLOP_RULES
from pipeline.filters.rules import Rule, for_documents, matcher, read_rules
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import between, internal

REASONS = {"refusal": "refuses the request", "only_slop": "holds nothing but disclaimers"}


@dataclass(frozen=True)
class Refusals:
    """Remove conversations and documents in which the assistant refuses, or says nothing but disclaimers."""

    rules: tuple[str, ...] = SLOP_RULES
    """The rule files; naming some replaces these."""
    more_rules: tuple[str, ...] = ()
    """Rule files used besides ``rules``, such as ``filters/moralising.yaml``; name them under ``cut_slop`` too."""
    roles: tuple[str, ...] = ("assistant", PLAIN)
    """Which turns are searched; ``text`` stands for plain documents."""
    max_share: float = between(0.0, 0.0, 1.0)
    """Largest share of a document's pieces of ``roles`` that may be refusals."""
    found: tuple[Rule, ...] = internal((), as_digest=True)
    version: ClassVar[int] = 2

    def resolve(self, find: Find) -> Self:
        """The same filter with its rules read in; raises SettingsError when a rule file is missing or wrong."""
        return replace(self, found=read_rules([find(name) for name in (*self.rules, *self.more_rules)]))

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts: the first refusing piece, the sentence that decides, and as score the share of pieces that refuse."""
        view = turns(batch).of_roles(self.roles)
        pieces = np.bincount(view.document, minlength=len(batch))
        refused: dict[int, list[dict[str, object]]] = {}
        for row, found in assess_pieces(view, matcher(self.found), matcher(for_documents(self.found))).items():
            if found.kind != "cuts":
                message = int(view.message[row])
                fields = {"rule_id": found.rule, "reason": REASONS[found.kind], "message": message, "start": found.start, "end": found.end}
                refused.setdefault(int(view.document[row]), []).append(fields)
        shares = {document: len(told) / int(pieces[document]) for document, told in refused.items()}
        told = [(document, first | {"score": shares[document]}) for document, (first, *_) in refused.items() if shares[document] > self.max_share]
        return verdicts(len(batch), told)
