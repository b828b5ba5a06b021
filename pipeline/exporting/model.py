"""python -m pipeline export model RUN OUT --to merged|gguf|adapter: what a run made, as files that other tools load.

``merged``: a folder for transformers, vLLM and TGI, with the adapter merged into a 16-bit base and compared with what the two were apart.
``gguf``: the same as one file for llama.cpp, Ollama and LM Studio. ``adapter``: plain peft files. A run that trained the whole model has
nothing to merge.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.commits import Build, copy
from pipeline.datasets import Dataset
from pipeline.errors import GristmillError, MissingPackageError, UsageError, nearest
from pipeline.exporting.gguf_model import TYPES, write_gguf
from pipeline.models import TokenizerInfo, load_tokenizer, tokenizer_files
from pipeline.packing.encode import MIN_LENGTH, Encoder
from pipeline.packing.settings import TokenizeSettings
from pipeline.progress import Progress
from pipeline.settings import digest
from pipeline.training.checkpoints import sync
from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.trained import ADAPTER, MODEL, TrainedRun, open_run

VERSION = 1
TARGETS = ("merged", "gguf", "adapter")
DEFAULT_ROWS = 50
MAX_NATS = {"lora": 0.02, "qlora": 0.05}
"""A merged model further than this (KL divergence, nats a token) from base and adapter apart is refused. Rounding to bf16 gives a tenth of
it; a merge gone wrong, such as one into 4-bit weights, several nats."""


@dataclass(frozen=True)
class Request:
    """What is asked for. ``num_rows`` validation rows are compared, none for 0; ``max_nats`` is the limit, which ``force`` lifts."""

    run: TrainedRun
    to: str
    kind: str
    tokens: Path
    num_rows: int
    max_nats: float
    onto_original: bool
    force: bool

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the output beside the run."""
        merges = self.to != "adapter" and not self.run.is_whole
        onto = {"onto": "original" if self.onto_original else "as trained", "rows": self.num_rows, "max_nats": self.max_nats} if merges else {}
        return {"to": self.to, **({"type": self.kind} if self.to == "gguf" else {}), **onto}

    @property
    def key(self) -> str:
        """Digest of all that goes in."""
        return digest(["export model", VERSION, self.settings, self.run.dataset.key, self.run.dataset.manifest["files"]])


def export(request: Request, output: Path, progress: Progress) -> Dataset:
    """Write the export of ``request`` into the folder ``output``, whole or not at all; nothing is done when it is there already.

    Raises GristmillError when the merged model is too far from what was trained, UsageError when the run has no such export.
    """
    run = request.run
    if request.to == "adapter" and run.is_whole:
        raise UsageError(str(run.folder), "trained the whole model, so there is no adapter", "export --to merged")
    with Build(output, request.key) as build:
        if build.ready is not None:
            return build.ready
        about: dict[str, Any] = {}
        if request.to == "adapter":
            _copy_all(run.folder / ADAPTER, build.folder)
        elif request.to == "merged":
            about = _write_whole(request, build.folder, progress)
        else:
            with tempfile.TemporaryDirectory(dir=build.work) as folder:
                about = _write_whole(request, Path(folder), progress)
                progress.say(f"writing {request.kind} GGUF")
                title = output.resolve().name
                write_gguf(Path(folder), _tokenizer(request), request.kind, title, build.folder / f"{title}-{request.kind}.gguf")
        files = sorted(path.relative_to(build.folder).as_posix() for path in build.folder.rglob("*") if _is_output(path, build))
        sync(build.folder)
        base = {"model": run.recipe.base_model, "revision": run.recipe.revision_of_model, "files": run.dataset.manifest["model"]}
        inputs = [{"name": run.folder.resolve().name, "digest": digest(run.dataset.manifest["files"])}]
        return build.commit([], {"stage": "export", "settings": request.settings, "inputs": inputs, "base": base, **about}, {}, files=files)


def _is_output(path: Path, build: Build) -> bool:
    return path.is_file() and build.work not in path.parents


def _copy_all(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy(path, target / path.relative_to(source))


def _write_whole(request: Request, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write model and tokenizer into ``folder``; gives what the manifest says about the merge."""
    run = request.run
    if run.is_whole:
        _copy_all(run.folder / MODEL, folder)
        return {}
    about = _merge(request, _tokenizer(request), folder, progress)
    for name, path in tokenizer_files(run.tokenizer_name(request.tokens), run.recipe.tokenizer_revision).items():
        copy(path, folder / name)
    return about


def _merge(request: Request, info: TokenizerInfo, folder: Path, progress: Progress) -> dict[str, Any]:
    prepare_process()
    try:
        quiet_libraries()
        from pipeline.training import merge
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "exporting a model", "train") from error
    run = request.run
    run.require_same_base()
    precision = merge.stored_precision(run)
    progress.say(f"merging the adapter into {run.recipe.base_model} in {precision}")
    rows = _rows(request, info) if request.num_rows else []
    merged = merge.merge(merge.open_tuned(run, info, precision, request.onto_original))
    measured = None
    if rows:
        measured = merge.divergence(merge.open_tuned(run, info, precision), merged, rows)
        what = f"is {measured.nats:.4f} nats a token from base and adapter apart; the limit is {request.max_nats:g}"
        progress.say(f"the merged model {what} ({measured.num_tokens:,} tokens of {measured.num_rows} validation rows)")
        if measured.nats > request.max_nats and not request.force:
            raise GristmillError("the merged model", what, "look at the run, or write it all the same with --force")
    merge.write_model(merged, _ends(info, merge.known_ends(merged)), folder)
    divergence = {name: round(value, 6) for name, value in dataclasses.asdict(measured).items()} if measured else None
    return {"precision": precision, "divergence": divergence}


def _rows(request: Request, info: TokenizerInfo) -> Any:
    """The first validation rows of the tokens that the run was trained on."""
    from pipeline.training.rows import open_rows

    run, todo = request.run, "name the tokens it was trained on with --tokens, or leave the comparison out with --rows 0"
    run.require_tokens(request.tokens, todo)
    recipe = dataclasses.replace(run.recipe, eval_max_rows=request.num_rows)
    with tempfile.TemporaryDirectory() as cache:
        rows = open_rows(request.tokens, recipe, info.fingerprint, Path(cache)).validation
        if rows is None:
            raise UsageError(str(request.tokens), "has no validation rows to compare on", todo)
        return list(rows)


def _tokenizer(request: Request) -> TokenizerInfo:
    recipe = request.run.recipe
    return load_tokenizer(request.run.tokenizer_name(request.tokens), recipe.tokenizer_revision)


def _ends(info: TokenizerInfo, known: set[int]) -> list[int]:
    """The ids that end an answer: the end of text, what the chat template writes after a turn, and control tokens that did before."""
    encoder = Encoder(info, MIN_LENGTH, TokenizeSettings())
    return sorted(encoder.answer_ends | known.intersection(encoder.literal.controls.values()))


def _request(arguments: Any) -> Request:
    if arguments.to not in TARGETS:
        raise UsageError(f"--to {arguments.to}", "is not a form of a model", nearest(arguments.to, TARGETS))
    run = open_run(command.require(arguments.run))
    if arguments.rows < 0:
        raise UsageError(f"--rows {arguments.rows}", "is no number of rows", "take 0 or more")
    limit = MAX_NATS.get(run.recipe.adapter, 0.0) if arguments.max_kl is None else arguments.max_kl
    tokens = arguments.tokens or run.tokens
    return Request(run, arguments.to, arguments.type, tokens, arguments.rows, limit, arguments.onto == "original", arguments.force)


def main(given: Sequence[str]) -> int:
    """The command."""
    parser = command.parser("python -m pipeline export model", __doc__ or "")
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder that the train stage wrote")
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write")
    parser.add_argument("--to", required=True, metavar="FORM", help=f"one of {', '.join(TARGETS)}")
    parser.add_argument("--type", choices=TYPES, default="bf16", help="of the matrices in a GGUF (default: %(default)s)")
    parser.add_argument("--tokens", type=Path, metavar="TOKENS", help="the rows it was trained on (default: data/tokens/... beside the run)")
    parser.add_argument(
        "--rows", type=int, default=DEFAULT_ROWS, metavar="N", help="validation rows to compare on; 0: no comparison (default: %(default)s)"
    )
    limits = ", ".join(f"{limit:g} for {kind}" for kind, limit in MAX_NATS.items())
    parser.add_argument("--max-kl", type=float, metavar="NATS", help=f"refuse a merged model further off, in nats a token (default: {limits})")
    parser.add_argument(
        "--onto", choices=("trained", "original"), default="trained", help="the 16-bit base: with QLoRA's rounded weights, or as it is stored"
    )
    parser.add_argument("--force", action="store_true", help="write the merged model however far off it is")
    arguments = parser.parse_args(given)
    request = _request(arguments)
    command.require_beside(arguments.output, arguments.run)
    with Progress("export", arguments.quiet) as progress:
        exported = export(request, arguments.output, progress)
    if not arguments.quiet:
        print("\n".join([f"export: {arguments.output}", *_lines(exported, arguments.output)]))
    return 0


def _lines(exported: Dataset, output: Path) -> list[str]:
    manifest = exported.manifest
    found = manifest.get("divergence")
    lines = [f"  {name}" for name in manifest["files"]]
    if found:
        lines.append(f"  {found['nats']:.4f} nats a token from base and adapter apart, over {found['num_tokens']:,} tokens")
    to = manifest["settings"]["to"]
    if to == "merged":
        return [*lines, f"  next: transformers.AutoModelForCausalLM.from_pretrained({str(output)!r})"]
    if to == "gguf":
        return [*lines, f"  next: llama-cli -m {output / next(iter(manifest['files']))}"]
    return [*lines, f"  next: peft.AutoPeftModelForCausalLM.from_pretrained({str(output)!r})"]
