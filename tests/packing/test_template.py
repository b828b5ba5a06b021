"""Conversations through chat templates: the text is the template's, contents stay apart, the right tokens are learned."""

from __future__ import annotations

import json

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents import Message
from pipeline.packing.sandbox import TemplateError
from pipeline.packing.template import EVERYTHING, NOTHING, THROUGH_END, ChatTemplate, Rendered
from tests.packing.conftest import CONTROLS, TEMPLATES, WORDS

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
COMPILED = {name: ChatTemplate(source, SPECIAL, [*CONTROLS, *WORDS]) for name, source in TEMPLATES.items()}

CONVERSATION = (
    Message("user", "What is it?"),
    Message("assistant", "A poem."),
    Message("user", "And that?"),
    Message("assistant", "A song."),
)
contents = st.lists(st.sampled_from([*CONTROLS, *WORDS, "[/INST]", "### Response:\n", "x", " ", "\n", "ä", "\U000f0000", "0", "{{ 7 * 7 }}"]), max_size=6)
texts = st.builds("".join, contents) | st.text(max_size=20)


def learned(rendered: Rendered) -> list[str]:
    """What is learned, part by part; of a template part that is learned through its end, up to the first control token that ends a turn."""
    found = []
    for part in rendered.parts:
        if part.learned == EVERYTHING:
            found.append(part.text)
        elif part.learned == THROUGH_END:
            end = min((part.text.index(e), e) for e in ("</s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>") if e in part.text)
            found.append(part.text[: end[0] + len(end[1])])
    return found


def straight(source: str, messages: list[dict[str, object]]) -> str:
    """The template rendered plainly by jinja2."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    source = source.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    return environment.from_string(source).render(messages=messages, add_generation_prompt=False, **SPECIAL)


@pytest.mark.parametrize("name", TEMPLATES)
@given(said=st.lists(texts, min_size=2, max_size=5))
def test_the_text_is_the_template_s(name: str, said: list[str]) -> None:
    """Whatever the messages say, the parts add up to exactly what the template renders, and contents are literal parts."""
    messages = [Message("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(said)]
    rendered = COMPILED[name].render(messages)
    assert rendered.text == straight(TEMPLATES[name], [{"role": m.role, "content": m.content} for m in messages])
    for message in messages:
        assert not message.content.strip() or any(part.literal and message.content.strip() in part.text for part in rendered.parts)
    plain = COMPILED[name].render([Message(m.role, "x" if m.content.strip() else "") for m in messages])
    template_text = ["".join(part.text for part in one.parts if not part.literal).replace(" ", "") for one in (rendered, plain)]
    assert template_text[0] == template_text[1] or any(m.content and not m.content.strip() for m in messages)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chatml", ["A poem.", "<|im_end|>", "A song.", "<|im_end|>"]),
        ("llama2", [" A poem.", " </s>", " A song.", " </s>"]),
        ("llama3", ["A poem.", "<|eot_id|>", "A song.", "<|eot_id|>"]),
        ("mistral", [" A poem.", "</s>", " A song.", "</s>"]),
        ("gemma", ["A poem.", "<end_of_turn>", "A song.", "<end_of_turn>"]),
        ("phi", ["A poem.", "<|end|>", "A song.", "<|end|>"]),
        ("zephyr", ["A poem.", "</s>", "A song.", "</s>"]),
        ("alpaca", ["A poem.", "</s>", "A song.", "</s>"]),
        ("vicuna", [" A poem.", "</s>", " A song.", "</s>"]),
        ("deepseek", ["A poem.", "</s>", "A song.", "</s>"]),
        ("tools", ["A poem.", "<|im_end|>", "A song.", "<|im_end|>"]),
    ],
)
def test_answers_and_their_ends_are_learned(name: str, expected: list[str]) -> None:
    """Exactly what the model would have written itself is learned: its answer and the token that ends its turn."""
    rendered = COMPILED[name].render(CONVERSATION)
    assert learned(rendered) == expected
    assert (rendered.num_left_out, rendered.num_unended) == (0, 0)


def test_train_overrides_the_role() -> None:
    """``train: false`` takes a turn out of the loss, ``train: true`` puts another one in."""
    messages = [Message("user", "Q", train=True), Message("assistant", "A", train=False), Message("user", "R"), Message("assistant", "B")]
    assert learned(COMPILED["chatml"].render(messages)) == ["Q", "<|im_end|>", "B", "<|im_end|>"]


def test_a_default_system_prompt_is_the_template_s() -> None:
    """What a template puts in by itself is template text and not learned."""
    source = "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe good.<|im_end|>\n' }}{% endif %}" + TEMPLATES["chatml"]
    rendered = ChatTemplate(source, SPECIAL, CONTROLS).render(CONVERSATION[:2])
    assert rendered.parts[0].text.startswith("<|im_start|>system\nBe good.<|im_end|>\n")
    assert learned(rendered) == ["A poem.", "<|im_end|>"]


def test_tool_calls_and_thinking_are_learned_whole() -> None:
    """From the generation prompt to the end of turn everything is the model's, template text between its fields included."""
    call = {"type": "function", "id": "call_1", "function": {"name": "weather", "arguments": {"city": 'Bonn "</tool_call><|im_end|>"', "n": 3}}}
    extra = json.dumps({"reasoning_content": "Look it up.", "tool_calls": [call]})
    messages = [Message("user", "Rain?"), Message("assistant", "Let me see.", extra=extra), Message("tool", "wet"), Message("assistant", "Yes.")]
    rendered = COMPILED["tools"].render(messages)
    assert "".join(learned(rendered)) == (
        "<think>\nLook it up.\n</think>\n\nLet me see."
        '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn \\"</tool_call><|im_end|>\\"", "n": 3}}\n</tool_call><|im_end|>'
        "Yes.<|im_end|>"
    )
    assert any(part.literal and "<|im_end|>" in part.text for part in rendered.parts)
    assert not any("Bonn" in part.text for part in rendered.parts if not part.literal)


def test_messages_left_out_are_counted() -> None:
    """A template that ignores system messages loses text: it is told."""
    rendered = COMPILED["mistral"].render([Message("system", "Be brief."), *CONVERSATION])
    assert rendered.num_left_out == 1
    assert "Be brief." not in rendered.text


def test_turns_without_an_end_are_counted() -> None:
    """A template that never ends a turn teaches a model never to stop: it is told."""
    source = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    rendered = ChatTemplate(source, SPECIAL, CONTROLS).render(CONVERSATION)
    assert (rendered.num_unended, learned(rendered)) == (2, [" A poem.", " A song."])


def test_contents_between_each_other() -> None:
    """A system message inside the first user turn, as Llama 2 has it, stays apart from the markers around it."""
    rendered = COMPILED["llama2"].render([Message("system", "<</SYS>> [/INST]"), *CONVERSATION[:2]])
    assert [part.text.strip() for part in rendered.parts if part.literal] == ["<</SYS>> [/INST]", "What is it?", "A poem."]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([Message("assistant", "first"), Message("user", "x")], "alternate"),
        ([Message("<|im_end|>", "x")], "role"),
        ([Message("im_end", "x")], "role"),
        ([Message("a b", "x")], "role"),
        ([Message("", "x")], "role"),
        ([Message("user", "x", extra="{")], "JSON"),
        ([Message("user", "x", extra="[1]")], "JSON object"),
        ([Message("user", "x", extra="[" * 100_000)], "JSON"),
        ([Message("user", "x", extra='{"a": {"<|im_end|>": 1}}')], "control token"),
        ([], "no element 0"),
    ],
)
def test_bad_conversations_have_a_reason(messages: list[Message], reason: str) -> None:
    """What cannot be rendered is refused with one line that says why."""
    with pytest.raises(TemplateError, match=reason) as caught:
        COMPILED["llama2"].render(messages)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("role", ["critic", "narrator-2", "ipython"])
def test_other_plain_roles_are_allowed(role: str) -> None:
    """A role that no control token holds may be used."""
    assert COMPILED["phi"].render([Message(role, "x"), Message("assistant", "y")]).text.startswith(f"<|{role}|>\nx")


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}",
        "{% for m in messages %}{% if 'poem' in m.content %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ m.content[:4] }}{% endfor %}",
        "{% for m in messages %}{{ m.content.index('o') }}{% endfor %}",
    ],
)
def test_templates_that_rewrite_contents_are_not_guessed_at(source: str) -> None:
    """When a content cannot be found again in the text the conversation is refused."""
    template = ChatTemplate(source, SPECIAL, CONTROLS)
    with pytest.raises(TemplateError, match="cannot be followed"):
        template.render([Message("user", "no </think>"), Message("assistant", "a poem </think> yes")])


@given(source=st.sampled_from(["trim", "string", "tojson"]), said=st.text(max_size=12))
def test_known_changes_are_followed(source: str, said: str) -> None:
    """Stripped or written as JSON, a content is found again as it is written."""
    template = ChatTemplate("{% for m in messages %}[{{ m.content | " + source + " }}]{% endfor %}", SPECIAL, CONTROLS)
    expected = {"trim": said.strip(), "string": said, "tojson": json.dumps(said, ensure_ascii=False)}[source]
    rendered = template.render([Message("user", said)])
    assert rendered.text == f"[{expected}]"


def test_marks_are_never_those_of_a_text() -> None:
    """A message that holds the usual mark is rendered with another one."""
    marks = "".join(chr(0xF0000 + number) for number in range(10))
    said = f"{chr(0xF0000)}0{chr(0xF0001)} {marks}"
    rendered = COMPILED["chatml"].render([Message("user", said), Message("assistant", said)])
    assert [part.text for part in rendered.parts if part.literal] == [said, said]
    everything = "".join(chr(0xF0000 + number) for number in range(128))
    with pytest.raises(TemplateError, match="private-use"):
        COMPILED["chatml"].render([Message("user", everything)])


def test_long_conversations_take_linear_time() -> None:
    """Five thousand turns are rendered without a quadratic step."""
    messages = [Message("user" if number % 2 == 0 else "assistant", "ok, a sentence of some length") for number in range(5_000)]
    rendered = COMPILED["chatml"].render(messages)
    assert sum(part.learned != NOTHING for part in rendered.parts) == 5_000
