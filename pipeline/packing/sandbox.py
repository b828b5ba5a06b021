"""A Jinja environment for chat templates of strangers: no code, no attributes of ours, no time, and a budget of work.

jinja2's own sandbox keeps a template from reaching into Python but lets it loop and grow strings without end. Here every loop step, every
output and every string that is made spends from a budget, so that a runaway ends after a fixed amount of work, the same on every machine.
What templates may use follows transformers (``apply_chat_template``), so that a template that works there works here.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_TEMPLATE_CHARS = 500_000
BASE_WORK = 1_000_000
WORK_A_CHAR = 64
"""A render may spend BASE_WORK, and this for each character of the messages; templates in use spend under 10."""

_STEP = 16
_MAX_NUMBER = 100_000
"""The largest number a template may hand to a function: widths, counts, ranges."""

_TODAY = datetime(2024, 7, 26)
"""What ``strftime_now`` tells: rows must not depend on the day they are made. The day that Llama 3.1's template falls back to."""

# fmt: off
_FILTERS = (
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby", "indent", "int", "items",
    "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select",
    "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper", "wordcount",
)
_STRING_METHODS = (
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal", "isdigit", "islower", "isnumeric",
    "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex",
    "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
)
# fmt: on


class TemplateError(Exception):
    """A conversation that the template refuses or cannot render; the message says why."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Compiles chat templates and renders them within a budget; safe to use from several threads."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation], finalize=self._output)
        self._left = threading.local()
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters |= {"tojson": _to_json, "replace": self._replace, "join": self._join, "indent": self._indent}
        for name in ("lipsum", "cycler", "joiner"):
            del self.globals[name]
        self.globals |= {"raise_exception": _refuse, "strftime_now": _TODAY.strftime}

    def compile_template(self, source: str) -> jinja2.Template:
        """The template, ready to render; raises TemplateError when it is none."""
        if len(source) > MAX_TEMPLATE_CHARS:
            raise TemplateError(f"is longer than {MAX_TEMPLATE_CHARS:,} characters")
        try:
            tree = _Metered().visit(self.parse(source))
            code = self.compile(tree.set_environment(self))
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError, ValueError, SyntaxError) as error:
            raise TemplateError(f"cannot be compiled ({type(error).__name__})") from None
        return jinja2.Template.from_code(self, code, self.make_globals(None))

    def render(self, template: jinja2.Template, variables: Mapping[str, Any], num_chars: int) -> str:
        """The template's text for messages of ``num_chars`` characters in all; raises TemplateError."""
        self._left.work = BASE_WORK + WORK_A_CHAR * num_chars
        try:
            return "".join(template.generate(**variables))
        except TemplateError:
            raise
        except Exception as error:
            # a template is a program: it can fail in every way a program can, and that costs its document only
            raise TemplateError((str(error).splitlines() or [""])[0][:200] or type(error).__name__) from None
        finally:
            del self._left.work

    def spend(self, work: int) -> bool:
        """Take ``work`` from the budget; raises TemplateError when it is used up. True, so that it can stand in a condition."""
        left = getattr(self._left, "work", None)
        if left is None:  # constants are folded while compiling
            return True
        if work > left:
            raise TemplateError("the chat template does too much work")
        self._left.work = left - work
        return True

    def concatenate(self, *values: Any) -> str:
        """The ``~`` of templates."""
        texts = [str(value) for value in values]
        self.spend(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``+``, ``*``, ``**`` and ``%`` within the budget."""
        if operator == "+":
            self.spend(_size(left) + _size(right))
        elif operator == "*":
            self.spend(_product_size(left, right))
        elif operator == "**" and not (isinstance(right, int | float) and abs(right) <= 64 and _size(left) <= 8):
            raise TemplateError("the chat template raises to too high a power")
        elif operator == "%" and isinstance(left, str):
            raise TemplateError("the chat template formats with %, which is not allowed")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call within the budget; numbers handed over stay small."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, int) and abs(value) > _MAX_NUMBER and __obj not in (__self.spend, __self.concatenate):
                raise TemplateError(f"the chat template calls a function with {value}")
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "replace" and len(args) > 1:
            return __self._replace(owner, *args, **kwargs)
        if isinstance(owner, str) and name == "join":
            return __self._join(args[0], owner)
        result = super().call(__context, __obj, *args, **kwargs)
        if __obj != __self.spend:
            __self.spend(_size(result))
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of strings only the methods whose result is not much longer than the string."""
        if isinstance(obj, str) and attr not in _STRING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format`` without wide fields."""
        text = getattr(value, "__self__", None)
        if isinstance(text, str) and getattr(value, "__name__", "") in ("format", "format_map") and re.search(r"\d{4}", text):
            raise TemplateError("the chat template formats with too wide a field")
        wrapped: Callable[..., str] | None = super().wrap_str_format(value)
        return wrapped

    def _output(self, value: Any) -> Any:
        self.spend(_size(value))
        return value

    def _replace(self, text: Any, old: Any, new: Any, count: int | None = None) -> str:
        whole, found, instead = str(text), str(old), str(new)
        self.spend(len(whole) + (whole.count(found) if found else len(whole) + 1) * len(instead))
        return whole.replace(found, instead, -1 if count is None else count)

    def _join(self, values: Iterable[Any], between: Any = "", attribute: str | int | None = None) -> str:
        if attribute is not None:
            values = [self.getitem(value, attribute) for value in values]
        texts, glue = [str(value) for value in values], str(between)
        self.spend(sum(map(len, texts)) + len(glue) * len(texts))
        return glue.join(texts)

    def _indent(self, text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        margin = width if isinstance(width, str) else " " * min(width, 64)
        lines = str(text).splitlines() or [""]
        self.spend(len(text) + len(margin) * len(lines))
        indented = [margin + line if (line or blank) and (first or number) else line for number, line in enumerate(lines)]
        return "\n".join(indented)


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what the model writes for transformers; here it is read over."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """The statements inside the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Metered(NodeTransformer):
    """Puts a ``spend`` into every body that can run more than once, and in place of ``~`` a call that spends."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        node.body = [_spend_statement(node.body), *node.body]
        if node.test is not None:
            node.test = nodes.And(_spend_call(_STEP), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        self.generic_visit(node)
        node.body = [_spend_statement(node.body), *node.body]
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:  # noqa: N802
        self.generic_visit(node)
        node.body = [_spend_statement(node.body), *node.body]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:  # noqa: N802
        self.generic_visit(node)
        return nodes.Call(nodes.EnvironmentAttribute("concatenate"), node.nodes, [], None, None)


def _spend_statement(body: Iterable[nodes.Node]) -> nodes.ExprStmt:
    written = sum(len(data.data) for part in body for data in part.find_all(nodes.TemplateData))
    return nodes.ExprStmt(_spend_call(_STEP + written))


def _spend_call(work: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("spend"), [nodes.Const(work)], [], None, None)


def _size(value: Any) -> int:
    """Roughly how much memory a value is worth: characters, items, bytes of a whole number."""
    if isinstance(value, int):
        return value.bit_length() // 8
    return len(value) if hasattr(value, "__len__") else 1


def _product_size(left: Any, right: Any) -> int:
    times, value = (left, right) if isinstance(left, int) else (right, left)
    if isinstance(times, int) and not isinstance(value, int):
        return _size(value) * max(times, 0)
    return max(_size(left), 1) * max(_size(right), 1)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    if isinstance(indent, int):
        indent = min(indent, 16)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: Any) -> None:
    raise TemplateError(f"the chat template refuses it: {str(message)[:160]}")
