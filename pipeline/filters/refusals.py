"""Removes refusals and answers that hold nothing but disclaimers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import pyarrow as pa

from pipeline.documents import PLAIN, turns
from pipeline.filters.assessment import assess
from pipeline.filters.cut_slop import SLOP_RULES
from pipeline.filters.rules import Rule, for_documents, matcher, read_rules
from pipeline.filters.verdicts import Find, verdicts
from pipeline.settings import between, internal

REASONS = {"refusal": "refuses the request", "only_slop": "holds nothing but disclaimers"}


@dataclass(frozen=True)
class Refusals:
    """Remove conversations and documents in which the assistant refuses, or says nothing but disclaimers."""

    rules: tuple[str, ...] = SLOP_RULES
    roles: tuple[str, ...] = ("assistant", PLAIN)
    max_share: float = between(0.0, 0.0, 1.0)
    """Largest share of a document's pieces of ``roles`` that may be refusals."""
    found: tuple[Rule, ...] = internal(())
    version: ClassVar[int] = 1

    def resolve(self, find: Find) -> Self:
        """The same filter with its rules read in; raises SettingsError when a rule file is missing or wrong."""
        return replace(self, found=read_rules([find(name) for name in self.rules]))

    def judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Verdicts: the first refusing piece, the sentence that decides, and as score the share of pieces that refuse."""
        turn_rules, document_rules = matcher(self.found), matcher(for_documents(self.found))
        view = turns(batch).of_roles(self.roles)
        pieces: dict[int, int] = {}
        refused: dict[int, list[dict[str, object]]] = {}
        for document, message, role, content in zip(
            view.document.tolist(), view.message.tolist(), view.role.to_pylist(), view.content.to_pylist(), strict=True
        ):
            pieces[document] = pieces.get(document, 0) + 1
            found = assess(content, document_rules if role == PLAIN else turn_rules, role == PLAIN)
            if found and found.kind != "cuts":
                fields = {"rule_id": found.rule, "reason": REASONS[found.kind], "message": message, "start": found.start, "end": found.end}
                refused.setdefault(document, []).append(fields)
        shares = {document: len(found) / pieces[document] for document, found in refused.items()}
        return verdicts(len(batch), [(d, found[0] | {"score": shares[d]}) for d, found in refused.items() if shares[d] > self.max_share])
