"""Chat templates of strangers: what they may do, and that whatever they try ends soon."""

from __future__ import annotations

import time

import pytest

from pipeline.packing.sandbox import Sandbox, TemplateError

MESSAGES = [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "yo"}]


def render(source: str, **variables: object) -> str:
    """Compile and render with two messages."""
    sandbox = Sandbox()
    return sandbox.render(sandbox.compile_template(source), {"messages": MESSAGES, **variables}, 4)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}{{ m.role ~ ': ' ~ m['content'] | trim }};{% endfor %}", "user: hi;assistant: yo;"),
        ("{%- for m in messages -%}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{%- endfor %}", "yo"),
        ("{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}", "yo"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% macro say(m) %}<{{ m.content.strip() }}>{% endmacro %}{{ say(messages[0]) }}{{ say(messages[1]) }}", "<hi><yo>"),
        ("{% generation %}x{{ messages | length }}{% endgeneration %}", "x2"),
        ("{{ messages[1] | tojson }}", '{"role": "assistant", "content": "yo"}'),
        ("{{ {'a': 'é<'} | tojson(indent=1) }}", '{\n "a": "é<"\n}'),
        ("{{ 'a-b-a'.replace('a', 'c') }}{{ ['x', 'y'] | join(', ') }}{{ 'aa' | replace('a', 'b', 1) }}", "c-b-cx, yba"),
        ("{{ '-'.join(['x', 'y']) }}{{ '{} {}'.format('a', 1) }}", "x-ya 1"),
        ("{{ messages | map(attribute='role') | join('|') }}", "user|assistant"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{{ 'ab' * 3 + 'c' }}{{ 2 ** 10 }}{{ 7 % 4 }}", "abababc10243"),
        ("{% if x is defined %}no{% else %}{{ x }}yes{% endif %}", "yes"),
        ("{{ messages[::-1][0].content }}", "yo"),
    ],
)
def test_ordinary_templates_work(source: str, expected: str) -> None:
    """What chat templates use gives what it gives elsewhere."""
    assert render(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10000000000 }}",
        "{{ [0] * 1000000000 }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=3) %}{% for i in range(90) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set s = 'a' * 1000000 %}{{ s.replace('a', s) | length }}",
        "{% set s = 'a' * 1000000 %}{{ s | replace('', s) }}",
        "{% set s = 'a' * 100000 %}{{ range(100000) | join(s) }}",
        "{% set x %}{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for a in range(100000) %}" + "some template text " * 100 + "{% endfor %}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 999999999) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ 'a'.translate({97: 'b'}) }}",
        "{{ 'a' | center(99999999999) }}",
        "{{ range(999999999) | list }}",
    ],
)
def test_runaways_end_soon(source: str) -> None:
    """Endless loops and exploding strings end with a reason within seconds, whatever the machine."""
    started = time.process_time()
    with pytest.raises(TemplateError):
        render(source)
    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ (1).__class__.__base__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ lipsum(n=5) }}",
        "{{ ['a', 'b'] | random }}",
        "{{ raise_exception('not today') }}",
        "{{ messages[5].x.y }}",
        "{{ nothing() }}",
        "{{ messages + 1 }}",
        "{{ messages | tojson | nonsense }}",
        "{% for m in messages %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "x" * 600_000,
    ],
)
def test_what_is_not_allowed_is_a_reason(source: str) -> None:
    """Attributes of Python, files, chance and errors of the template end in a TemplateError of one line."""
    with pytest.raises(TemplateError) as caught:
        render(source)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("source", ["{{ raise_exception.__globals__ }}", "{{ strftime_now.__self__ }}", "{{ '' | attr('__class__') | attr('__mro__') }}"])
def test_what_is_hidden_is_nothing(source: str) -> None:
    """Attributes of Python that are only printed print nothing."""
    assert render(source) == ""


def test_one_render_does_not_pay_for_another() -> None:
    """Each render has a budget of its own, and one that failed leaves the next alone."""
    sandbox = Sandbox()
    template = sandbox.compile_template("{% for a in range(n) %}{{ 'x' * 100 }}{% endfor %}")
    for _ in range(3):
        assert len(sandbox.render(template, {"n": 3_000}, 0)) == 300_000
        with pytest.raises(TemplateError, match="too much work"):
            sandbox.render(template, {"n": 99_999}, 0)
