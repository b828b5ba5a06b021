"""python -m pipeline.plan: works out for make what must run, from the values of the settings and the digests of files, never from times.

Each output of the DAG is a node. A node is up to date when the dataset at its place was built from the key that its settings and inputs give
now. Make sees three files a node in the state folder: NODE.json (what goes in, for people), NODE.done (touched when the stage ran) and
NODE.digest (what came out; later nodes depend on it). All files of a node that is up to date get one and the same old time, so that make finds
nothing to do; a stale node has no .done.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import bench, command
from pipeline.commits import write_json, writing
from pipeline.datasets import Dataset, committed, file_sha256
from pipeline.errors import SettingsError, UsageError, nearest
from pipeline.extractors.sources import settings_for_key
from pipeline.remote import RemoteFile, Url, place
from pipeline.settings import digest as digest_of
from pipeline.stages import extract, tokenize, train
from pipeline.stages import filter as filter_stage
from pipeline.training.recipe import Recipe, read_recipe

UP_TO_DATE = 1_000_000_000
"""The time (seconds since 1970) that the files of an up-to-date node carry."""

RAW, CLEAN, TOKENS, RUNS = Path("data/raw"), Path("data/clean"), Path("data/tokens"), Path("data/runs")


@dataclass(frozen=True)
class Node:
    """One output of the DAG: how it is made, and the key it would be made from now (None while an input is still to be made)."""

    name: str
    goal: str
    output: Path
    command: str
    settings: Any
    key: str | None
    upstream: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """Files that must be there first but whose time does not matter."""
    inputs: Sequence[Mapping[str, str]] = field(default_factory=tuple)


class FileDigests:
    """SHA-256 of files, remembered by path, size and time of change, so that planning does not read every source again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        with suppress(OSError, ValueError):
            self._known = json.loads(path.read_text())
        self._seen: dict[str, list[Any]] = {}

    def __call__(self, path: Path | RemoteFile) -> str:
        """The digest of the file's bytes, hex."""
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(path))
        sha256 = known[2] if known and known[:2] == mark else file_sha256(path)
        self._seen[str(path)] = [*mark, sha256]
        return str(sha256)

    def save(self) -> None:
        """Remember the digests of the files asked for."""
        if self._seen != self._known:
            write_json(self._path, self._seen)


def nodes_of(recipes: Sequence[str], state: Path, made: Path, model: Path, file_digest: Callable[[Path], str]) -> list[Node]:
    """Every node that the recipes need, inputs before outputs; raises SettingsError or UsageError for a wrong setting or path."""
    nodes = _raw_nodes(made, file_digest)
    nodes.append(_clean_node(nodes, state))
    for name in recipes:
        path = Path("train") / f"{name}.yaml"
        recipe = read_recipe(path)
        tokens = _tokens_node(path, recipe, nodes, state, model)
        nodes += [tokens] if tokens.name not in {node.name for node in nodes} else []
        nodes.append(_run_node(path, recipe, tokens, state, model, file_digest))
    return nodes


def _raw_nodes(made: Path, file_digest: Callable[[Path], str]) -> list[Node]:
    path = bench.settings_file("extract", None)
    settings = extract.read_settings(path)
    if not settings.sources:
        raise SettingsError([f"{path} sources: is empty; name at least one source"])
    problems, nodes = [], []
    for name, source in settings.sources.items():
        where = place(source.path)
        to_be_made = where == made
        there = isinstance(where, Url) or where.exists()  # what lies elsewhere is looked for when it is listed
        if isinstance(where, Path) and not there and not to_be_made:
            known = [child.as_posix() for child in where.parent.iterdir()] if where.parent.is_dir() else []
            problems.append(f"{path} sources.{name}.path: {source.path} is not there; {nearest(where.as_posix(), known)}")
            continue
        job = extract.resolve({name: source}, file_digest, RAW / name) if there else None
        nodes.append(
            Node(
                name=f"raw-{name}",
                goal="extract",
                output=RAW / name,
                command=f"pipeline.stages.extract --source {name} {RAW / name}",
                settings={name: settings_for_key(source)},
                key=job.key if job else None,
                needs=(f"{made}/.made",) if to_be_made else (),
                inputs=job.inputs if job else (),
            )
        )
    if problems:
        raise SettingsError(problems)
    return nodes


def _digest_file(node: Node, state: Path) -> Path:
    return state / f"{node.name}.digest"


def _last_digest(node: Node, state: Path) -> str | None:
    """The digest of what stands at the node's place; where nothing whole does, of what last stood there."""
    dataset = committed(node.output)
    if dataset is not None:
        return dataset.digest
    with suppress(OSError):
        return _digest_file(node, state).read_text().strip()
    return None


def _inputs(upstream: Sequence[Node], state: Path) -> list[dict[str, str]] | None:
    """Name and digest of what the upstream nodes made, None when one has never been made.

    A node downstream of a stale one is thus planned as if that one came out as before; if it does not, make sees the new digest.
    """
    digests = [_last_digest(node, state) for node in upstream]
    return [{"name": n.output.name, "digest": d} for n, d in zip(upstream, digests, strict=True) if d] if all(digests) else None


def _clean_node(upstream: Sequence[Node], state: Path) -> Node:
    rules = filter_stage.read_settings(bench.settings_file("filter", None))
    inputs = _inputs(upstream, state)
    job = filter_stage.Job(rules, tuple(inputs or ()))
    return Node(
        name="clean",
        goal="clean",
        output=CLEAN,
        command=f"pipeline.stages.filter {' '.join(str(node.output) for node in upstream)} {CLEAN}",
        settings=job.settings,
        key=job.key if inputs is not None else None,
        upstream=tuple(node.name for node in upstream),
        inputs=job.inputs,
    )


def _tokens_node(path: Path, recipe: Recipe, nodes: Sequence[Node], state: Path, model: Path) -> Node:
    settings = tokenize.read_settings(bench.settings_file("tokenize", None))
    inputs = _inputs([node for node in nodes if node.name == "clean"], state)
    output = TOKENS / recipe.tokens_name
    made_here = Path(recipe.tokenizer_name) == model
    ready = inputs is not None and (not made_here or (model / "tokenizer.json").is_file())
    job = tokenize.resolve(settings, recipe, inputs or ()) if ready else None
    return Node(
        name=f"tokens-{output.name}",
        goal="tokenize",
        output=output,
        command=f"pipeline.stages.tokenize {CLEAN} {output} --recipe {path}",
        settings=tokenize.settings_for_key(settings, recipe),
        key=job.key if job else None,
        upstream=("clean",),
        needs=(f"{model}/tokenizer.json",) if made_here else (),
        inputs=inputs or (),
    )


def _run_node(path: Path, recipe: Recipe, tokens: Node, state: Path, model: Path, file_digest: Callable[[Path], str]) -> Node:
    inputs = _inputs([tokens], state)
    made_here = Path(recipe.base_model) == model
    ready = inputs is not None and (not made_here or (model / "model.safetensors").is_file())
    job = train.resolve(recipe, inputs or (), file_digest) if ready else None
    output = RUNS / path.stem
    return Node(
        name=f"run-{path.stem}",
        goal="train",
        output=output,
        command=f"pipeline.stages.train {tokens.output} {output} --recipe {path}",
        settings=train.settings_for_key(recipe),
        key=job.key if job else None,
        upstream=(tokens.name,),
        needs=(f"{model}/model.safetensors",) if made_here else (),
        inputs=inputs or (),
    )


def _built(node: Node) -> Dataset | None:
    """The dataset at the node's place when it was made from the node's key."""
    dataset = committed(node.output)
    return dataset if dataset is not None and dataset.key == node.key else None


def write_state(nodes: Sequence[Node], state: Path) -> None:
    """The files that make looks at: one triple a node, and the rules."""
    state.mkdir(parents=True, exist_ok=True)
    for node in nodes:
        plan, done = state / f"{node.name}.json", state / f"{node.name}.done"
        _write_if_changed(plan, json.dumps(_for_people(node), ensure_ascii=False, indent=1) + "\n")
        digest = _last_digest(node, state)
        if digest is not None:
            _write_if_changed(_digest_file(node, state), f"{digest}\n")
            os.utime(_digest_file(node, state), (UP_TO_DATE, UP_TO_DATE))
        if _built(node) is None:
            os.utime(plan)
            done.unlink(missing_ok=True)
        else:
            done.touch()
            os.utime(plan, (UP_TO_DATE, UP_TO_DATE))
            os.utime(done, (UP_TO_DATE, UP_TO_DATE))
    _write_if_changed(state / "rules.mk", _rules(nodes, state))


def _for_people(node: Node) -> dict[str, Any]:
    return {"node": node.name, "output": node.output.as_posix(), "key": node.key, "settings": node.settings, "inputs": list(node.inputs)}


def _write_if_changed(path: Path, text: str) -> None:
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return
    with writing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def _rules(nodes: Sequence[Node], state: Path) -> str:
    """The DAG in make's words. Names of source files never stand here, only names of nodes."""
    lines = ["# Written by pipeline/plan.py at every run of make.", ""]
    for node in nodes:
        done, first = state / f"{node.name}.done", [str(state / f"{node.name}.json")]
        first += [str(state / f"{name}.digest") for name in node.upstream]
        needs = f" | {' '.join(node.needs)}" if node.needs else ""
        lines += [
            f"{node.goal}: {done}",
            f"{done}: {' '.join(first)}{needs}",
            f"\t$(PY) -m {node.command}",
            f"\t@$(PY) -m pipeline.stamp {node.output} {state / node.name}",
            # No recipe: when the stage left the digest as it was, make sees an unchanged file and stops here.
            f"{state / node.name}.digest: {done} ;",
            "",
        ]
    return "\n".join(lines)


def explain(nodes: Sequence[Node]) -> list[str]:
    """For each node what would happen, and which value or file is the reason."""
    lines, running = [], set()
    for node in nodes:
        reasons = _reasons(node)
        waiting = [name for name in node.upstream if name in running]
        if reasons:
            running.add(node.name)
            lines += [f"{node.name}: would run", *(f"    {reason}" for reason in reasons[:10])]
            lines += [f"    and {len(reasons) - 10} more"] if len(reasons) > 10 else []
        elif waiting:
            lines.append(f"{node.name}: would run if {' or '.join(waiting)} comes out different")
            running.add(node.name)
        else:
            lines.append(f"{node.name}: up to date")
    return lines


def _reasons(node: Node) -> list[str]:
    if _built(node) is not None:
        return []
    dataset = committed(node.output)
    if dataset is None:
        return [f"{node.output} is not there yet" if not node.output.exists() else f"{node.output} is not whole"]
    old = dataset.manifest
    reasons = [f"{key}: {before} -> {after}" for key, before, after in _differences(old.get("settings"), node.settings, "")]
    then = {_label(item): item["digest"] for item in old.get("inputs", [])}
    now = {_label(item): item["digest"] for item in node.inputs}
    reasons += [f"{name} is new" for name in now if name not in then] + [f"{name} is gone" for name in then if name not in now]
    reasons += [f"{name} has changed" for name in now if name in then and now[name] != then[name]]
    return reasons or ["an input or a version has changed"]


def _label(item: Mapping[str, str]) -> str:
    return "/".join(part for part in (item.get("source"), item["name"]) if part)


def _differences(old: Any, new: Any, key: str) -> list[tuple[str, str, str]]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*new, *(name for name in old if name not in new)]
        return [d for name in names for d in _differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, pair in enumerate(zip(old, new, strict=True)) for d in _differences(*pair, f"{key}[{i}]")]
    return [(key or "settings", _short(old), _short(new))]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters, digest {digest_of(value)[:8]})"


def recipe_names(wanted: str) -> list[str]:
    """The recipe of that name, or with ``all`` every recipe of the folder ``train``; raises UsageError."""
    known = sorted(path.stem for path in Path("train").glob("*.yaml"))
    if wanted == "all":
        return known
    if wanted not in known:
        raise UsageError(f"RECIPE={wanted}", "is not in train/", nearest(wanted, known))
    return [wanted]


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline.plan", __doc__ or "")
    parser.add_argument("--state", type=Path, required=True, metavar="FOLDER", help="where make's files go")
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of train/, or all")
    parser.add_argument("--made", type=Path, required=True, metavar="FOLDER", help="the source that make itself fills")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="the model that make itself unpacks")
    parser.add_argument("--explain", action="store_true", help="print what would run, and why; write nothing")
    arguments = parser.parse_args(given)
    digests = FileDigests(arguments.state / "digests.json")
    nodes = nodes_of(recipe_names(arguments.recipe), arguments.state, arguments.made, arguments.model, digests)
    if arguments.explain:
        print("\n".join(explain(nodes)))
        return 0
    arguments.state.mkdir(parents=True, exist_ok=True)
    digests.save()
    write_state(nodes, arguments.state)
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
