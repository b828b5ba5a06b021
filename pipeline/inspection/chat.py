"""python -m pipeline chat RUN: a conversation with what a run trained.

Lines are questions, on a terminal or from a pipe; --prompt asks one and ends. /base lets the base model answer the last question too, /reset
begins a new conversation, /quit, Ctrl-D or Ctrl-C ends it; Ctrl-C during an answer ends the answer. A tokenizer without a chat template
has no turns: the model goes on from each text as it stands.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import command
from pipeline.documents import Document, Message, to_batch
from pipeline.errors import MissingPackageError, UsageError
from pipeline.models import TokenizerInfo, load_tokenizer
from pipeline.packing.encode import MIN_LENGTH, Encoder
from pipeline.packing.settings import TokenizeSettings
from pipeline.training.quiet import prepare_process, quiet_libraries
from pipeline.training.trained import Sampling, TrainedRun, open_run

COMMANDS = ("/base", "/reset", "/quit")
_PLACEHOLDER = "x"
"""Stands for the answer: what a training row would hold before it is the prompt."""


class Prompter:
    """Conversations as the ids of their prompt, encoded just as the training rows were: what a user writes never becomes a control token."""

    def __init__(self, info: TokenizerInfo, max_tokens: int) -> None:
        self.info = info
        self._encoder = Encoder(info, max_tokens, TokenizeSettings(over_long="drop"))

    @property
    def has_turns(self) -> bool:
        """Whether there is a chat template."""
        return self._encoder.template is not None

    @property
    def ends(self) -> frozenset[int]:
        """The ids that end an answer."""
        return self._encoder.answer_ends

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt that asks for an answer to ``messages``; without a template, the last one's content as the beginning of a document.

        Raises UsageError when the template refuses the conversation, or it is too long for the model.
        """
        if not self.has_turns:
            return self._encode(Document("chat", text=messages[-1].content))[0][:-1]
        given = [Message(message.role, message.content, train=False) for message in messages]
        ids, learned = self._encode(Document("chat", messages=(*given, Message("assistant", _PLACEHOLDER, train=True))))
        return ids[: learned.index(1)]

    def _encode(self, document: Document) -> tuple[list[int], list[int]]:
        encoded = self._encoder.encode(to_batch("chat", [document]))
        if encoded.reasons:
            is_long = encoded.rules[0] == "too_long"
            what = f"is longer than the {self._encoder.length:,} tokens that the model has left for it" if is_long else encoded.reasons[0]
            raise UsageError("the conversation", what, "begin another one with /reset")
        row = encoded.sequences.to_pylist()[0]
        return row["input_ids"], row["learned"]


class Printer:
    """Prints an answer as it comes, up to the last whole character."""

    def __init__(self, info: TokenizerInfo, write: Callable[[str], object]) -> None:
        self._info, self._write = info, write
        self._ids: list[int] = []
        self._shown = 0

    def __call__(self, token: int) -> None:
        """One more token."""
        self._ids.append(token)
        self._show(self.text.rstrip("\ufffd"))

    def finish(self) -> str:
        """Print what is left, and the end of the line; gives the whole answer."""
        self._show(self.text)
        self._write("\n")
        return self.text

    @property
    def text(self) -> str:
        """The answer so far."""
        return str(self._info.tokenizer.decode(self._ids, skip_special_tokens=True))

    def _show(self, text: str) -> None:
        if len(text) > self._shown:
            self._write(text[self._shown :])
            self._shown = len(text)


class Chat:
    """A conversation: what was said, and who answers."""

    def __init__(self, speaker: Any, prompter: Prompter, sampling: Sampling, system: str | None, write: Callable[[str], object]) -> None:
        self._speaker, self._prompter, self._sampling, self._write = speaker, prompter, sampling, write
        self._start = (Message("system", system),) if system else ()
        self._messages = self._start

    def ask(self, question: str) -> None:
        """Answer a question after all that was said; a question that cannot be asked is forgotten."""
        asked = (*self._messages, Message("user", question))
        self._messages = (*asked, Message("assistant", self._answer(asked, base=False)))

    def ask_base(self) -> None:
        """Let the base model answer the last question; the conversation goes on without its answer."""
        asked = self._messages[:-1]
        if len(self._messages) == len(self._start):
            raise UsageError("/base", "there is no question yet", "ask one first")
        self._answer(asked, base=True)

    def reset(self) -> None:
        """Forget what was said."""
        self._messages = self._start

    def _answer(self, messages: tuple[Message, ...], base: bool) -> str:
        printer = Printer(self._prompter.info, self._write)
        prompt = self._prompter.ids(messages)
        try:
            self._speaker.answer(prompt, self._prompter.ends, self._sampling, printer, base)
        except KeyboardInterrupt:
            self._write(" [stopped]")
        return printer.finish()


def converse(chat: Chat, lines: Iterator[str], complain: Callable[[str], object]) -> None:
    """Answer each line until there is none or one says /quit; blank ones do not count, and a mistake does not end the conversation."""
    for line in lines:
        given = line.strip()
        try:
            if given == "/quit":
                return
            if given == "/reset":
                chat.reset()
            elif given == "/base":
                chat.ask_base()
            elif given.startswith("/") and given[1:].isalpha():
                raise UsageError(given, "is not a command", f"known: {', '.join(COMMANDS)}")
            elif given:
                chat.ask(line.rstrip("\r\n"))
        except UsageError as error:
            complain(f"{error}\n")


def _typed(mark: str) -> Iterator[str]:
    """What is typed, or comes through a pipe, line by line, until Ctrl-D, Ctrl-C or the pipe's end."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401 (lines can then be edited and called back)
    while True:
        try:
            yield input(mark)
        except (EOFError, KeyboardInterrupt):
            print()
            return


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _open(run: TrainedRun, tokens: Path, max_tokens: int) -> tuple[Any, Prompter]:
    prepare_process()
    try:
        quiet_libraries()
        from pipeline.training.chat import Speaker
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "chatting", "train") from error
    info = load_tokenizer(run.tokenizer_name(tokens), run.recipe.tokenizer_revision)
    speaker = Speaker(run, info)
    room = max(MIN_LENGTH, speaker.max_context - max_tokens)
    return speaker, Prompter(info, room)


def _arguments(given: Sequence[str]) -> Any:
    parser = command.parser("python -m pipeline chat", __doc__ or "")
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder that the train stage wrote")
    parser.add_argument("--prompt", metavar="TEXT", help="ask this and end")
    parser.add_argument("--system", metavar="TEXT", help="a system message before the conversation")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N", help="of an answer, at most (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 takes the likeliest token each time (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides what is drawn where the temperature is not 0 (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=Path, metavar="TOKENS", help="the rows it was trained on, for a tokenizer that lies with them")
    arguments = parser.parse_args(given)
    for name, value, least in (("--max-tokens", arguments.max_tokens, 1), ("--temperature", arguments.temperature, 0), ("--seed", arguments.seed, 0)):
        if not value >= least:
            raise UsageError(f"{name} {value}", "is too small", f"take {least} or more")
    return arguments


def main(given: Sequence[str]) -> int:
    """The command."""
    arguments = _arguments(given)
    run = open_run(command.require(arguments.run))
    speaker, prompter = _open(run, arguments.tokens or run.tokens, arguments.max_tokens)
    if not prompter.has_turns and arguments.system:
        raise UsageError("--system", "needs a chat template, which this tokenizer lacks", "leave it out")
    chat = Chat(speaker, prompter, Sampling(arguments.max_tokens, arguments.temperature, arguments.seed), arguments.system, _show)
    if arguments.prompt is not None:
        chat.ask(arguments.prompt.encode("utf-8", "replace").decode())  # an argument may hold bytes that are no text
        return 0
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    is_terminal = sys.stdin.isatty()
    if is_terminal and not arguments.quiet:
        print(f"{run.folder}: {', '.join(COMMANDS)}; Ctrl-D ends" + ("" if prompter.has_turns else "; no chat template: each text is gone on from"))
    try:
        converse(chat, _typed("> "), sys.stderr.write)
    except KeyboardInterrupt:
        print()
    return 0
