"""YAML files become frozen, typed settings; every error of a file is told at once, with file, line, key and the nearest known name.

YAML is read as plain data: no tags, no aliases (they can explode), no duplicate keys, numbers as in YAML 1.2 (``1e-4`` is one),
and only ``true`` and ``false`` are booleans (``no`` is a language).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from pipeline.errors import SettingsError, nearest

T = TypeVar("T")
Key = tuple[str, ...]

MAX_SETTINGS_BYTES = 4_000_000
"""A settings or list file larger than this is refused rather than parsed."""


@dataclass(frozen=True)
class Raw:
    """A settings file as plain data, with the line of each key for messages."""

    where: str
    values: dict[str, Any]
    lines: Mapping[Key, int]

    def place(self, key: Key) -> str:
        """``file:line key`` for messages, as exact as is known."""
        line = next((self.lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.lines), None)
        spot = f"{self.where}:{line}" if line else self.where
        return f"{spot} {'.'.join(key)}" if key else spot


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars, without aliases, tags and duplicate keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the name and form that PyYAML asks for)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed here", problem_mark=mark)
        return super().compose_node(parent, index)


if hasattr(yaml, "CSafeLoader"):

    class _FastLoader(yaml.CSafeLoader):
        """The same read by libyaml, for texts without aliases."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


_REFERENCE = re.compile(r"(?:^|[\s,\[{:])[*&][^\s*&]", re.M)
"""What may be an alias or an anchor; patterns have such places too, so the parser decides."""

_BOOL, _INT, _NULL = re.compile(r"true|false"), re.compile(r"[-+]?[0-9]+"), re.compile(r"null|~|")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan")


def read_yaml(path: Path) -> Raw:
    """The settings file at ``path``; raises SettingsError when it is missing or not plain YAML."""
    return parse_yaml(read_settings(path), str(path))


def read_settings(path: Path) -> str:
    """The text of the settings file at ``path``; raises SettingsError when it is missing, too large or not UTF-8."""
    try:
        if path.stat().st_size > MAX_SETTINGS_BYTES:
            raise SettingsError([f"{path}: is larger than {MAX_SETTINGS_BYTES:,} bytes; settings are small files"])
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8"]) from None
    except OSError as error:
        known = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise SettingsError([f"{path}: {error.strerror or error}; {nearest(path.name, known)}"]) from None


def parse_yaml(text: str, where: str) -> Raw:
    """YAML text as plain data; ``where`` names it in messages. An empty document is an empty mapping."""
    lines: dict[Key, int] = {}
    problems: list[str] = []
    try:
        node = _compose(text)
        values = _plain(node, (), lines, problems, where) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        spot = f"{where}:{mark.line + 1}" if mark else where
        raise SettingsError([f"{spot}: {error.problem or error}; mend the YAML there"]) from None
    except RecursionError:
        raise SettingsError([f"{where}: is nested too deep; settings are flat"]) from None
    except yaml.YAMLError as error:
        raise SettingsError([f"{where}: is not readable as YAML ({str(error).splitlines()[0]})"]) from None
    if problems:
        raise SettingsError(problems)
    if not isinstance(values, dict):
        raise SettingsError([f"{where}: holds {_kind(values)}; expected keys with values"])
    return Raw(where, values, lines)


def _compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text: by libyaml where PyYAML has it, by PyYAML itself (some ten times slower) where not, and for what is wrong in it."""
    if hasattr(yaml, "CSafeLoader"):
        try:
            if not _REFERENCE.search(text) or not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _FastLoader)):
                return yaml.compose(text, _FastLoader)
        except (yaml.YAMLError, ValueError):
            pass
    return yaml.compose(text, _Loader)


def _plain(node: yaml.Node, key: Key, lines: dict[Key, int], problems: list[str], where: str) -> Any:
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.startswith("tag:yaml.org,2002:python"):
        problems.append(f"{where}:{node.start_mark.line + 1}: the tag {node.tag} is not allowed; write plain values")
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*key, str(i)), lines, problems, where) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for name_node, child in node.value:
            name = str(name_node.value)
            here = (*key, name)
            if not isinstance(name_node, yaml.ScalarNode) or name == "<<":
                problems.append(f"{where}:{name_node.start_mark.line + 1}: a key must be a plain word")
                continue
            if name in mapping:
                problems.append(f"{where}:{name_node.start_mark.line + 1} {'.'.join(here)}: stands twice; keep one")
            lines[here] = name_node.start_mark.line + 1
            mapping[name] = _plain(child, here, lines, problems, where)
        return mapping
    return node.value if getattr(node, "style", None) else scalar(node.value)


def scalar(text: str) -> Any:
    """What an unquoted YAML 1.2 scalar means: null, bool, int, float or string."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text == "true"
    if _INT.fullmatch(text) and len(text) < 19:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def override(raw: Raw, assignments: Sequence[str]) -> Raw:
    """``raw`` with each ``a.b=value`` of the command line (``--set``) put over it; the value is read as YAML."""
    values = json.loads(json.dumps(raw.values))
    lines = dict(raw.lines)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        key = tuple(name.strip().split("."))
        if not equals or not all(key):
            raise SettingsError([f"--set {assignment}: is not KEY=VALUE; write for example --set remove.length.min_chars=40"])
        value = parse_yaml(f"value: {text}", f"--set {assignment}").values["value"]
        target = values
        for part in key[:-1]:
            inner = target.get(part)
            if not isinstance(inner, dict):
                inner = target[part] = {}
            target = inner
        target[key[-1]] = value
        lines = {k: line for k, line in lines.items() if k[: len(key)] != key}
    return Raw(raw.where, values, lines)


def internal(default: Any, as_digest: bool = False) -> Any:
    """A dataclass field that no settings file may set: contents of lists that ``resolve`` read, for example.

    ``as_digest``: plain data of long contents is their SHA-256.
    """
    return field(default=default, metadata={"internal": True, "as_digest": as_digest})


def at_least(default: Any, minimum: float) -> Any:
    """A dataclass field with a default and a smallest allowed value."""
    return field(default=default, metadata={"minimum": minimum})


def between(default: Any, minimum: float, maximum: float) -> Any:
    """A dataclass field with a default and the range it must lie in."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


@lru_cache(maxsize=256)
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


class Builder:
    """Turns plain data into frozen dataclasses and collects every problem on the way."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.problems: list[str] = []

    def problem(self, key: Key, what: str) -> None:
        """Note one problem at ``key``."""
        self.problems.append(f"{self.raw.place(key)}: {what}")

    def finish(self) -> None:
        """Raise SettingsError with all problems, if there were any."""
        if self.problems:
            raise SettingsError(self.problems)

    def build(self, kind: type[T], value: Any, key: Key = ()) -> T | None:
        """An instance of the frozen dataclass ``kind`` from a mapping, or None when problems were noted."""
        before = len(self.problems)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.problem(key, f"is {_kind(value)}; expected a mapping of {', '.join(f.name for f in dataclasses.fields(kind))}")  # type: ignore[arg-type]
            return None
        hints = _hints(typing.cast(Any, kind))
        fields = {f.name: f for f in dataclasses.fields(kind) if not f.metadata.get("internal")}  # type: ignore[arg-type]
        given: dict[str, Any] = {}
        for name, item in value.items():
            if name not in fields:
                self.problem((*key, name), f"unknown key; {nearest(name, fields)}")
                continue
            given[name] = self.convert(hints[name], item, (*key, name))
            self._check_range(given[name], fields[name], (*key, name))
        for name, spec in fields.items():
            if name not in value and spec.default is MISSING and spec.default_factory is MISSING:
                self.problem((*key, name), "is missing; it has no default")
        if len(self.problems) > before:
            return None
        try:
            return kind(**given)
        except ValueError as error:
            self.problem(key, str(error))
            return None

    def convert(self, hint: Any, value: Any, key: Key) -> Any:
        """``value`` as the type ``hint`` says; notes a problem and gives None when it is not one."""
        origin, args = get_origin(hint), get_args(hint)
        if hint is Any:
            return value
        if origin in (Union, types.UnionType):
            return self._convert_union(args, value, key)
        if origin is Literal:
            if value not in args or (isinstance(value, bool) and bool not in map(type, args)):
                allowed = ", ".join(map(str, args))
                self.problem(key, f"is {value!r}; allowed: {allowed}; {nearest(str(value), map(str, args))}")
            return value
        if origin is tuple:
            items = value if isinstance(value, list) else [value]
            if args[0] is str and all(type(item) is str for item in items):
                return tuple(items)  # rule files hold thousands
            return tuple(self.convert(args[0], item, (*key, str(i))) for i, item in enumerate(items))
        if origin in (dict, Mapping) or origin is typing.get_origin(Mapping[str, int]):
            if not isinstance(value, dict):
                self.problem(key, f"is {_kind(value)}; expected a mapping")
                return None
            return {name: self.convert(args[1], item, (*key, name)) for name, item in value.items()}
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast(type, hint), value, key)
        return self._convert_scalar(hint, value, key)

    def _convert_union(self, args: tuple[Any, ...], value: Any, key: Key) -> Any:
        if value is None and type(None) in args:
            return None
        choices = [a for a in args if a is not type(None)]
        for choice in choices:
            trial = Builder(self.raw)
            converted = trial.convert(choice, value, key)
            if not trial.problems:
                return converted
        if len(choices) == 1:
            return self.convert(choices[0], value, key)
        self.problem(key, f"is {_kind(value)}; expected {' or '.join(_type_name(c) for c in choices)}")
        return None

    def _convert_scalar(self, hint: Any, value: Any, key: Key) -> Any:
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, hint) and not (isinstance(value, bool) and hint in (int, float)):
            return value
        if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self.problem(key, f"is {_kind(value)}; expected {_type_name(hint)}")
        return None

    def _check_range(self, value: Any, spec: dataclasses.Field[Any], key: Key) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        low, high = spec.metadata.get("minimum"), spec.metadata.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            allowed = f"{low} to {high}" if high is not None else f"{low} or more"
            self.problem(key, f"is {value}; allowed: {allowed}")


def build(kind: type[T], raw: Raw) -> T:
    """The settings of ``raw`` as ``kind``; raises SettingsError with every problem of the file."""
    builder = Builder(raw)
    settings = builder.build(kind, raw.values)
    builder.finish()
    assert settings is not None
    return settings


def read_list(path: Path) -> tuple[str, ...]:
    """The lines of a list file without comments (``#`` at the start of a line or after a blank) and empty lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError([f"{path}: cannot be read ({reason}); make the file or mend its name"]) from None
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.split("\n"))
    return tuple(line for line in lines if line)


def to_plain(settings: Any) -> Any:
    """Settings as JSON-able data: dataclasses become mappings, paths become text."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {f.name: (_digest if f.metadata.get("as_digest") else to_plain)(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {str(name): to_plain(item) for name, item in settings.items()}
    if isinstance(settings, tuple | list):
        return [to_plain(item) for item in settings]
    if isinstance(settings, Path):
        return settings.as_posix()
    return settings


def _digest(contents: Any) -> str:
    """SHA-256 of contents that are made of frozen dataclasses, text and numbers, so that their ``repr`` tells all."""
    return hashlib.sha256(repr(contents).encode("utf-8", "surrogatepass")).hexdigest()


def digest(data: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of ``data``; mappings keep their order, which may carry meaning."""
    text = json.dumps(to_plain(data), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else f"{value!r}"


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "nothing"}
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return names.get(hint, "a list" if get_origin(hint) is tuple else str(hint))
