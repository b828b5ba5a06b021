"""python -m pipeline ablate --without RULE|SOURCE: trains with and without it, on equal tokens and several seeds, and says what that did.

RULE is one of stages/filter.yaml (refusals, cut_slop, dedup.near ...), SOURCE one of data/raw. Both arms are validated on the same rows.
Everything lies in data/ablations/NAME; run again, it goes on where it stopped.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import bench, command
from pipeline.commits import Build, copy, write_json
from pipeline.datasets import RUN, Dataset, Shard
from pipeline.errors import UsageError, nearest
from pipeline.inspection.shown import Page, table
from pipeline.inspection.try_settings import spelled_out
from pipeline.progress import Progress
from pipeline.settings import Raw, digest, override, read_yaml
from pipeline.stages import filter as filtering
from pipeline.stages import tokenize as tokenizing
from pipeline.stages import train as training
from pipeline.stages.inputs import Inputs, open_inputs
from pipeline.stages.ruleset import SECTIONS, read_rules
from pipeline.training import metrics
from pipeline.training.ablation import ARMS, WITH, WITHOUT, Ablation
from pipeline.training.recipe import Recipe, read_recipe

RAW, WORK = Path("data/raw"), Path("data/ablations")
RESULT, METRICS = "ablation.json", "metrics.jsonl"


@dataclass(frozen=True)
class Arms:
    """What differs between the arms: assignments to the settings of the filter stage, and of the tokenize stage, in the arm without."""

    what: str
    rules: tuple[str, ...] = ()
    mix: tuple[str, ...] = ()


def arms(without: str, settings: Raw, sources: Sequence[str]) -> Arms:
    """A source or a rule that is switched on, by its name; raises UsageError for neither, with the nearest name."""
    if without in sources:
        return Arms(f"the source {without}", mix=(f"epochs.{without}=0",))
    rules = {name: f"{section}.{name}" for section in (*SECTIONS, "dedup") for name in _switched_on(settings, section)}
    known = {**rules, **{full: full for full in rules.values()}}
    if without not in known:
        raise UsageError(f"--without {without}", "is neither a rule that is switched on nor a source", nearest(without, [*rules, *sources]))
    full = spelled_out(settings, f"{known[without]}=false")
    return Arms(f"the rule {known[without]}", rules=(full,))


def _switched_on(settings: Raw, section: str) -> list[str]:
    values = settings.values.get(section) or {}
    names = ("exact", "near") if section == "dedup" else tuple(values)
    return [name for name in names if name in values and values[name] is not False]


def ablate(both: Arms, inputs: Inputs, settings: Raw, token_settings: Path, recipe: Recipe, seeds: int, work: Path, progress: Progress) -> Ablation:
    """Clean, tokenize and train both arms in the folder ``work``; what is there already is not made again."""
    tokens = {arm: _tokens(arm, both if arm == WITHOUT else Arms(""), inputs, settings, token_settings, recipe, work, progress) for arm in ARMS}
    if not tokens[WITH].rows("validation"):
        raise UsageError("--without", "there are no validation rows to compare on", "raise validation_share in stages/tokenize.yaml")
    tokens[WITHOUT] = _with_validation_of(tokens[WITH], tokens[WITHOUT], work / "tokens" / "without-validated")
    equal = replace(recipe, max_steps=_steps(recipe, tokens), num_epochs=None, document_losses_max_rows=0)
    losses: dict[str, dict[int, float]] = {arm: {} for arm in ARMS}
    trained: dict[str, int] = {}
    sources: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(recipe.seed, recipe.seed + seeds):
        for arm in ARMS:
            progress.say(f"{arm} {both.what.split(' ')[-1]}, seed {seed}: {equal.max_steps} steps")
            run = _trained(replace(equal, seed=seed), tokens[arm], work / "runs" / f"{arm}-{seed}", progress)
            results = json.loads((run.folder / RUN).read_text(encoding="utf-8"))["results"]
            losses[arm][seed], trained[arm] = float(results["final_loss"]), int(results["tokens"])
            sources[arm].append(metrics.evaluations(metrics.read(run.folder / METRICS))[-1].get("eval_loss_by_source", {}))
    return Ablation(both.what, losses[WITH], losses[WITHOUT], trained, _means(sources))


def _means(sources: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, tuple[float, float]]:
    """The mean loss of each source over the seeds, in both arms."""
    names = sorted({name for lines in sources.values() for line in lines for name in line})
    with_it, without_it = ({name: statistics.fmean(line[name] for line in sources[arm]) for name in names} for arm in ARMS)
    return {name: (with_it[name], without_it[name]) for name in names}


def _tokens(arm: str, change: Arms, inputs: Inputs, settings: Raw, token_settings: Path, recipe: Recipe, work: Path, progress: Progress) -> Dataset:
    rules = read_rules(override(settings, change.rules))
    clean = filtering.clean(rules, inputs, work / "clean" / arm, 1, None, progress)
    how = tokenizing.read_settings(token_settings, change.mix)
    cleaned = Inputs((clean,))
    job = tokenizing.resolve(how, recipe, cleaned.digests())
    return tokenizing.tokenize(job, how, recipe, cleaned, work / "tokens" / arm, 1, None, progress)


def _with_validation_of(reference: Dataset, rows: Dataset, output: Path) -> Dataset:
    """The training rows of one token set with the validation rows of another."""
    with Build(output, digest(["ablation", rows.key, reference.key])) as build:
        if build.ready is not None:
            return build.ready
        shards = []
        for dataset, split in ((rows, "train"), (reference, "validation")):
            for shard in (shard for shard in dataset.shards if shard.part == split):
                copy(dataset.folder / shard.path, build.folder / shard.path)
                shards.append(Shard(shard.path, shard.rows, shard.bytes, shard.sha256))
        about = {name: rows.manifest[name] for name in ("stage", "settings", "inputs", "tokenizer", "sequence_len", "file_format")}
        return build.commit(shards, about, {})


def _steps(recipe: Recipe, tokens: Mapping[str, Dataset]) -> int:
    """As many steps for both arms: those of the recipe, or the passes it asks for over the smaller arm's rows. Packed rows are equally full."""
    if recipe.max_steps:
        return recipe.max_steps
    rows = min(dataset.rows("train") for dataset in tokens.values())
    return max(1, round((recipe.num_epochs or 1.0) * rows / (recipe.micro_batch_size * recipe.gradient_accumulation_steps)))


def _trained(recipe: Recipe, tokens: Dataset, output: Path, progress: Progress) -> Dataset:
    job = training.resolve(recipe, [{"name": tokens.folder.resolve().name, "digest": tokens.digest}])
    return training.train(job, tokens.folder, output, progress)


def sources_of(inputs: Inputs) -> list[str]:
    """The names of the sources that the inputs hold."""
    return sorted({source for dataset in inputs.datasets for source in dataset.manifest.get("counts", {})})


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline ablate", __doc__ or "")
    parser.add_argument("--without", required=True, metavar="NAME", help="a rule of the filter's settings, or a source")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help=f"the recipe (default: {tokenizing.DEFAULT_RECIPE})")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="put one setting over the recipe's")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm (default: %(default)s)")
    parser.add_argument("--raw", type=Path, default=RAW, metavar="DIR", help="extracted datasets (default: %(default)s)")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the filter's settings (default: stages/filter.yaml)")
    parser.add_argument("--token-settings", type=Path, metavar="FILE", help="the tokenize stage's settings (default: stages/tokenize.yaml)")
    parser.add_argument("--work", type=Path, metavar="DIR", help=f"where everything lies (default: {WORK}/NAME)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(given)
    if arguments.seeds < 1:
        raise UsageError(f"--seeds {arguments.seeds}", "is no number of runs", "take 1 or more; 3 tell chance from effect")
    settings = read_yaml(bench.settings_file("filter", arguments.settings))
    token_settings = bench.settings_file("tokenize", arguments.token_settings)
    recipe = read_recipe(arguments.recipe or bench.find(tokenizing.DEFAULT_RECIPE), arguments.assignments)
    work = arguments.work or WORK / re.sub(r"[^\w.-]+", "-", arguments.without)
    with Progress("ablate", arguments.quiet or arguments.json) as progress:
        inputs = open_inputs([command.require(arguments.raw)], work / "raw", 1, None, progress, "filter")
        both = arms(arguments.without, settings, sources_of(inputs))
        found = ablate(both, inputs, settings, token_settings, recipe, arguments.seeds, work, progress)
        inputs.discard()
    write_json(work / RESULT, found.to_plain())
    if arguments.json:
        print(json.dumps(found.to_plain(), indent=1))
    else:
        _print(found, work)
    return 0


def _print(found: Ablation, work: Path) -> None:
    page = Page()
    rows = [["seed", f"{WITH} it", f"{WITHOUT} it", "difference"]]
    differences = found.differences
    rows += [[str(seed), f"{found.with_it[seed]:.4f}", f"{found.without_it[seed]:.4f}", f"{differences[seed]:+.4f}"] for seed in differences]
    page.line(f"validation loss after {found.tokens[WITH]:,} and {found.tokens[WITHOUT]:,} tokens, same validation rows", "bold")
    for line in table(rows):
        page.line(f"  {line}")
    for name, (one, other) in sorted(found.by_source.items()):
        page.line(f"  of {name}: {one:.4f} {WITH} it, {other:.4f} {WITHOUT} it, {other - one:+.4f}")
    page.line(found.sentence())
    page.line(f"{work / RESULT} has the figures", "dim")
    page.flush()
