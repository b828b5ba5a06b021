"""``stages/filter.yaml`` as rules that are ready to run: built-in ones by name, a user's own ones by class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import bench
from pipeline.dedup.exact import Exact
from pipeline.dedup.near import Near
from pipeline.dedup.signatures import ByScore, Keeper, Looks
from pipeline.documents import SCORES, scored_schema
from pipeline.errors import SettingsError, nearest
from pipeline.filters import EDITORS, FILTERS
from pipeline.filters.verdicts import Editor, Filter
from pipeline.quality import SCORERS
from pipeline.settings import Builder, Raw, internal, read_list, to_plain
from pipeline.stages.own import Own, OwnClassError, load, wrap


@dataclass(frozen=True)
class Dedup:
    """Which duplicates are looked for, and which one of a cluster stays."""

    exact: Exact | None = None
    """Documents with the same text; left out or ``false``: not looked for, ``{}``: with the defaults below."""
    near: Near | None = None
    """The same for documents that are nearly alike."""
    keeper: Keeper = "longest"
    """Which document of a cluster stays: the longest, the first, or ``{score: COLUMN}``, the one with the highest score."""
    against: tuple[str, ...] = ()
    """Datasets, or folders of documents: what is a duplicate of a document there is removed."""
    compiled: bool = internal(False)
    """Whether there is enough text for compiled loops."""

    def __post_init__(self) -> None:
        if self.against and self.looks is None:
            raise ValueError("against needs exact or near; say which duplicates are looked for")

    @property
    def looks(self) -> Looks | None:
        """What is looked for, if anything."""
        return Looks(self.exact, self.near, self.keeper, self.compiled) if self.exact or self.near else None

    def to_plain(self) -> dict[str, Any]:
        """What decides a verdict; of the datasets ``against``, what they hold does, not where they lie."""
        return {name: to_plain(getattr(self, name)) for name in ("exact", "near", "keeper")}


@dataclass(frozen=True)
class Rules:
    """``stages/filter.yaml``, resolved: lists read in, ready to travel to a worker."""

    edit: Mapping[str, Editor] = field(default_factory=dict)
    remove: Mapping[str, Filter] = field(default_factory=dict)
    score: Mapping[str, Any] = field(default_factory=dict)
    dedup: Dedup = field(default_factory=Dedup)
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    carried: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Scores that the input brings along; they decide nothing that the input's digest does not."""

    @property
    def fields(self) -> dict[str, pa.DataType]:
        """All columns of ``scores``: those that the input brings, and the scorers' own, which take the place of any of the same name."""
        return {**self.carried, **{name: kind for scorer in self.score.values() for name, kind in scorer.fields().items()}}

    @property
    def schema(self) -> pa.Schema:
        """Of what is kept: ``documents.SCHEMA``, with the struct ``scores`` when there are any."""
        return scored_schema(self.fields)

    def carrying(self, files: Iterable[Path]) -> Rules:
        """The same rules for Parquet files that may have scores already; raises SettingsError when they disagree, or lack what a rule asks for."""
        carried: dict[str, pa.DataType] = {}
        for path in files:
            schema = pq.read_schema(path)
            for column in schema.field(SCORES).type if SCORES in schema.names else ():
                if carried.setdefault(column.name, column.type) != column.type:
                    raise SettingsError([f"{path}: its score {column.name} is not of the type that another input has; filter them apart"])
        rules = replace(self, carried=carried)
        problems = [f"remove.{name}.{column}: {what}" for name, rule in rules.remove.items() for column, what in unmet(rule, rules.fields).items()]
        keeper = rules.dedup.keeper
        if isinstance(keeper, ByScore) and keeper.score not in rules.fields:
            problems.append(f"dedup.keeper.score: there is no score {keeper.score}; {nearest(keeper.score, rules.fields)}")
        if problems:
            raise SettingsError(problems)
        return rules

    def to_plain(self) -> dict[str, Any]:
        """All that decides a verdict, as JSON-able data."""
        sections = {"edit": self.edit, "remove": self.remove, "score": self.score}
        rules = {section: {name: _plain(rule) for name, rule in named.items()} for section, named in sections.items()}
        if not self.score:
            del rules["score"]
        return {**rules, "dedup": self.dedup.to_plain(), "keep": list(self.keep), "drop": list(self.drop)}


def _plain(rule: Any) -> dict[str, Any]:
    return {"version": rule.version, **(rule.to_plain() if isinstance(rule, Own) else to_plain(rule))}


def unmet(rule: Any, fields: Mapping[str, pa.DataType]) -> dict[str, str]:
    """What a filter by scores asks of columns that are not there or are of another kind, by column; empty for any other filter."""
    return dict(rule.problems(fields)) if hasattr(rule, "problems") else {}


@dataclass(frozen=True)
class Section:
    """A section of the settings: its built-in rules (name to ``module:Class``) and what a class must do to stand there."""

    registry: Mapping[str, str]
    methods: tuple[str, ...]


SECTIONS = {
    "edit": Section(EDITORS, ("edit",)),
    "remove": Section(FILTERS, ("judge",)),
    "score": Section(SCORERS, ("fields", "score")),
}
KNOWN = (*SECTIONS, "dedup", "keep", "drop")

_NAME = re.compile(r"[A-Za-z_][\w-]*")


def read_rules(raw: Raw) -> Rules:
    """Rules from the settings; raises SettingsError with every problem of the file and of the lists it names."""
    builder = Builder(raw)
    for name in raw.values:
        if name not in KNOWN:
            builder.problem((name,), f"unknown key; {nearest(name, KNOWN)}")
    edit, remove, score = (_section(builder, name, section) for name, section in SECTIONS.items())
    _check_columns(builder, score)
    dedup = builder.build(Dedup, _with_defaults(raw.values.get("dedup")), ("dedup",))
    lists = {name: builder.convert(str | None, raw.values.get(name), (name,)) for name in ("keep", "drop")}
    builder.finish()
    assert dedup is not None
    keep, drop = (read_list(bench.find(path)) if path else () for path in lists.values())
    return Rules(_resolved(edit), _resolved(remove), _resolved(score), dedup, keep, drop)


def _resolved(rules: Mapping[str, Any]) -> dict[str, Any]:
    return {name: rule.resolve(bench.find) for name, rule in rules.items()}


def _with_defaults(dedup: Any) -> Any:
    """``exact:`` with nothing behind it means its defaults, as everywhere; only ``exact: false`` switches it off."""
    if not isinstance(dedup, dict):
        return dedup
    meant: dict[Any, Any] = {False: None, None: {}}
    return {name: meant.get(value, value) if name in ("exact", "near") and not isinstance(value, dict) else value for name, value in dedup.items()}


def _section(builder: Builder, section: str, spec: Section) -> dict[str, Any]:
    """The named rules of a section in the order of the file; ``name: false`` leaves one out."""
    values = builder.raw.values.get(section) or {}
    if not isinstance(values, dict):
        builder.problem((section,), f"is {values!r}; expected the names of rules")
        return {}
    built: dict[str, Any] = {}
    for name, value in values.items():
        key = (section, name)
        is_own = ":" in name or (isinstance(value, dict) and "class" in value)
        if not is_own and name not in spec.registry:
            hint = nearest(name, spec.registry)
            builder.problem(key, f"unknown rule; {hint}" + (" (your own: class: package.module:Class)" if hint.startswith("known") else ""))
        elif value is False:
            continue
        elif is_own:
            short = name.rpartition(":")[2]
            if short in built or short in spec.registry:
                builder.problem(key, f"the name {short} is taken; give your own rule another")
            built[short] = _own(builder, spec, key, name, value or {})
        else:
            built[name] = _built_in(builder, spec.registry[name], value, key)
    return {name: rule for name, rule in built.items() if rule is not None}


def _built_in(builder: Builder, reference: str, value: Any, key: tuple[str, str]) -> Any:
    """A built-in rule; one whose settings are no fields reads them itself (``from_settings``)."""
    module, _, name = reference.partition(":")
    kind = getattr(import_module(module), name)
    return kind.from_settings(builder, value, key) if hasattr(kind, "from_settings") else builder.build(kind, value, key)


def _own(builder: Builder, spec: Section, key: tuple[str, str], name: str, value: Any) -> Own | None:
    """A user's own rule: ``name: {class: package.module:Class, ...}``, or ``package.module:Class: {...}`` for short."""
    if not isinstance(value, dict):
        builder.problem(key, f"is {value!r}; expected a mapping of its settings")
        return None
    given = dict(value)
    reference = str(given.pop("class", name))
    place = (*key, "class") if "class" in value else key
    if ":" not in name and not _NAME.fullmatch(name):
        builder.problem(key, "is not a name; use letters, digits, _ and -")
        return None
    try:
        kind = load(reference, spec.methods)
        if is_dataclass(kind):
            rule = builder.build(kind, given, key)
        elif given:
            builder.problem(key, f"{reference} takes no settings; make it a dataclass with fields for {', '.join(given)}")
            return None
        else:
            rule = kind()
    except OwnClassError as error:
        builder.problem(place, str(error))
        return None
    except Exception as error:
        builder.problem(key, f"{reference} cannot be made ({type(error).__name__}: {error}); mend it")
        return None
    return wrap(rule, reference) if rule is not None else None


def _check_columns(builder: Builder, scorers: Mapping[str, Any]) -> None:
    """Every scorer has columns, and no two the same."""
    owner: dict[str, str] = {}
    for name, scorer in scorers.items():
        try:
            given = scorer.fields()
        except Exception as error:
            builder.problem(("score", name), f"its fields() fails ({type(error).__name__}: {error}); give name and Arrow type of each column")
            continue
        if not given or not all(isinstance(column, str) and isinstance(kind, pa.DataType) for column, kind in given.items()):
            builder.problem(("score", name), "has no columns; fields() gives name and Arrow type of each")
        for column in sorted(given.keys() & owner.keys()):
            builder.problem(("score", name), f"its column {column} is one of {owner[column]} too; leave one out")
        owner |= dict.fromkeys(given, name)
