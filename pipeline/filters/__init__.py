"""Rules that give a reason to remove a document, and editors that cut; one small file each."""

EDITORS = {
    "repair_text": "pipeline.filters.repair_text:RepairText",
    "cut_slop": "pipeline.filters.cut_slop:CutSlop",
}
"""Editors by the name that ``edit`` in ``stages/filter.yaml`` uses; imported only when named."""

FILTERS = {
    "refusals": "pipeline.filters.refusals:Refusals",
    "no_answer": "pipeline.filters.no_answer:NoAnswer",
    "length": "pipeline.filters.length:Length",
}
"""Filters by the name that ``remove`` in ``stages/filter.yaml`` uses."""
