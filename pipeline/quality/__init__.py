"""Scores of documents as columns: numbers to look at, sort by and set thresholds on; they remove nothing themselves."""

SCORERS = {
    "gopher": "pipeline.quality.gopher:Gopher",
    "c4": "pipeline.quality.c4:C4",
    "fineweb": "pipeline.quality.fineweb:FineWeb",
    "language": "pipeline.quality.language:Language",
    "compression": "pipeline.quality.compression:Compression",
    "repetition": "pipeline.quality.repetition:Repetition",
    "gpt_isms": "pipeline.quality.gpt_isms:GptIsms",
    "tokens": "pipeline.quality.tokens:Tokens",
}
"""Scorers by the name that ``score`` in ``stages/filter.yaml`` uses; imported only when named."""
