"""Rules that give a reason to remove a document, and editors that cut; one small file each."""

EDITORS = {
    "private_data": "pipeline.filters.private_data:PrivateData",
    "repair_text": "pipeline.filters.repair_text:RepairText",
    "cut_slop": "pipeline.filters.cut_slop:CutSlop",
    "cut_patterns": "pipeline.filters.patterns:CutPatterns",
    "recurring_lines": "pipeline.filters.recurring_lines:RecurringLines",
}
"""Editors by the name that ``edit`` in ``stages/filter.yaml`` uses; imported only when named."""

FILTERS = {
    "private_data": "pipeline.filters.private_data:HoldsPrivateData",
    "contamination": "pipeline.filters.contamination:Contamination",
    "patterns": "pipeline.filters.patterns:Patterns",
    "scores": "pipeline.filters.scores:Scores",
    "repetition": "pipeline.filters.repetition:Repetition",
    "refusals": "pipeline.filters.refusals:Refusals",
    "no_answer": "pipeline.filters.no_answer:NoAnswer",
    "length": "pipeline.filters.length:Length",
}
"""Filters by the name that ``remove`` in ``stages/filter.yaml`` uses."""
