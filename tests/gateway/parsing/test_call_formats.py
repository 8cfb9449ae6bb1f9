"""Every call format: well-formed outputs, outputs cut anywhere, and damaged ones."""

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.families.registry import call_formats
from gateway.parsing.deltas import (
    Delta,
    Message,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
    fold,
)
from gateway.parsing.output_parser import OutputParser
from tests.gateway.model_outputs import (
    CALLS,
    MARKUP,
    REASONING_OF,
    TOOLS,
    Call,
    output_parser,
    shown_formats,
    written,
)
from tests.profiles import examples
from tests.rollout import shipped_templates

FAMILIES = [*CALLS, "harmony"]
WORDS = st.text("ab é🙂\n\"'\\{}:,;0", max_size=12).map(lambda text: text.strip("\n"))
SAID = st.text("ab é🙂\n,.", max_size=12).map(str.strip)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "city": WORDS,
        "count": st.integers(-(10**9), 10**9),
        "ratio": st.floats(-1e6, 1e6),
        "flag": st.booleans(),
        "tags": st.lists(WORDS | st.integers(0, 9) | st.none(), max_size=3),
        "options": st.dictionaries(WORDS, st.booleans() | WORDS, max_size=2),
    },
)
CALL_LISTS = st.lists(st.tuples(st.sampled_from(["price", "look_up"]), ARGUMENTS), max_size=3)


def parse(pieces: list[str], family: str) -> tuple[list[Delta], OutputParser]:
    numbers = itertools.count()
    parser = output_parser(
        family, REASONING_OF[family], tools=TOOLS, new_id=lambda: f"call_{next(numbers)}"
    )
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    return deltas + parser.finish(), parser


def message(text: str, family: str) -> tuple[Message, bool]:
    deltas, parser = parse([text], family)
    return fold(deltas), parser.malformed


def calls_of(parsed: Message) -> list[Call]:
    return [(call.name, json.loads(call.arguments)) for call in parsed.tool_calls]


@pytest.mark.parametrize("family", FAMILIES)
@given(SAID, SAID, CALL_LISTS)
def test_what_a_family_writes_is_understood(
    family: str, thought: str, content: str, calls: list[Call]
) -> None:
    """Reasoning, content and calls are read as they were written, typed by the tools' schemas."""
    parsed, malformed = message(written(family, thought, content, calls), family)
    assert calls_of(parsed) == calls
    assert (parsed.reasoning, parsed.content) == (thought, content)
    assert not malformed


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, str, list[int]]:
    """An output with markup missing, doubled, swapped or cut off, and where to cut it."""
    family = draw(st.sampled_from(FAMILIES))
    calls = draw(CALL_LISTS.filter(bool))
    pieces = MARKUP.split(text := written(family, draw(SAID), draw(SAID), calls))
    tags = MARKUP.findall(text)
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(tags) - 1))
        tags[position] = draw(
            st.sampled_from(["", tags[0], tags[-1], tags[position] * 2, "<", "x"])
        )
    text = "".join(itertools.chain(*itertools.zip_longest(pieces, tags, fillvalue="")))
    text = text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text
    return family, text, draw(st.lists(st.integers(0, len(text)), max_size=20))


@examples(10)
@given(damaged())
def test_any_chunking_folds_to_the_whole_parse(case: tuple[str, str, list[int]]) -> None:
    """A stream cut anywhere, in whatever state, folds to what the whole text parses to."""
    family, text, cuts = case
    whole, parser = parse([text], family)
    bounds = [0, *sorted(cuts), len(text)]
    for pieces in ([text[a:b] for a, b in itertools.pairwise(bounds)], list(text)):
        deltas, chunked = parse(pieces, family)
        assert fold(deltas) == fold(whole)
        assert chunked.malformed == parser.malformed


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_streams_as_it_is_generated(family: str) -> None:
    """Reasoning, name and arguments reach the client before they are complete."""
    thought, city = "thinking " * 20, "Paris and more " * 20
    text = written(family, thought.strip(), "", [("price", {"city": city.strip()})])
    parser = output_parser(family, REASONING_OF[family], tools=TOOLS)
    deltas = [(position, d) for position, c in enumerate(text) for d in parser.feed(c)]
    starts = [position for position, delta in deltas if isinstance(delta, ToolCallStart)]
    assert len(starts) == 1
    assert starts[0] <= text.index("Paris")
    assert sum(isinstance(delta, ReasoningDelta) for _, delta in deltas) > 100
    assert sum(isinstance(delta, ToolArgumentsDelta) for _, delta in deltas) > 200


@pytest.mark.parametrize(
    ("family", "text", "content", "calls"),
    [
        ("qwen_xml", "<tool_call>\nprice\n</tool_call>", "<tool_call>\nprice\n</tool_call>", []),
        ("qwen_xml", "<tool_call>\n<function=f>\n<parameter=city>\nPar", "", [("f", '{"city": "Par')]),
        ("qwen_xml", "<tool_call>\n<function=price>\n<parameter=count>\n12", "", [("price", '{"count": 12')]),
        ("qwen_xml", "<tool_call>\n<function=f>\nno</function>", "no</function>", [("f", "{")]),
        ("glm", "a <tool_call>{}</tool_call>", "a <tool_call>{}</tool_call>", []),
        ("minimax", "<minimax:tool_call>\n<invoke>", "<minimax:tool_call>\n<invoke>", []),
        ("llama", "<|python_tag|>print(1)", "<|python_tag|>print(1)", []),
        ("llama", '{"name": "f", "parameters": {"a": 1', "", [("f", '{"a": 1')]),
        ("deepseek_v31", "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜>", "<｜tool▁calls▁begin｜>none<｜tool▁calls▁end｜>", []),
        ("kimi", "<|tool_calls_section_begin|><|tool_call_begin|>f<|tool_call_end|>", "<|tool_calls_section_begin|><|tool_call_begin|>f<|tool_call_end|>", []),
        ("mistral", '[TOOL_CALLS] [{"name": 5}]', '[TOOL_CALLS] [{"name": 5}]', []),
        ("mistral_named", "[TOOL_CALLS]f{}", "[TOOL_CALLS]f{}", []),
        ("harmony", "<|channel|>commentary to=functions.f<|message|>[]<|call|>", "<|channel|>commentary to=functions.f<|message|>[]<|call|>", []),
    ],
)  # fmt: skip
def test_what_is_no_call_is_text_or_a_flagged_call(
    family: str, text: str, content: str, calls: list[tuple[str, str]]
) -> None:
    """Before its arguments start a malformed call is text; after that it stays a call, and either way it is flagged."""
    parsed, malformed = message(text, family)
    assert parsed.content == content
    assert [(call.name, call.arguments) for call in parsed.tool_calls] == calls
    assert malformed


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        ("llama", '{"name": "f", "parameters": {}}', [("f", {})]),
        ("llama", ' {"type": "function", "name": "f", "parameters": {}}', [("f", {})]),
        ("llama", '{"name": "f", "parameters": {}}{"name": "g", "parameters": {}}', [("f", {}), ("g", {})]),
        ("llama", '{"name": "Bob", "age": 3}', []),
        ("llama", "Hello {}", []),
        ("glm", "<tool_call>f<arg_key>city</arg_key><arg_value>x</arg_value></tool_call>", [("f", {"city": "x"})]),
        ("mistral_named", "[TOOL_CALLS]f[CALL_ID]a1b2[ARGS]{}", [("f", {})]),
        ("harmony", " to=functions.f<|channel|>commentary json<|message|>{}<|call|>", [("f", {})]),
        ("harmony", "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}", [("f", {})]),
        ("harmony", "no channel at all", []),
    ],
)  # fmt: skip
def test_variants_that_models_write(family: str, text: str, expected: list[Call]) -> None:
    """Other spellings than the template's are read too, and plain text stays text."""
    parsed, malformed = message(text, family)
    assert calls_of(parsed) == expected
    assert parsed.content == ("" if expected else text)
    assert not malformed


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, "null", "null"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "five", "five"),
        ({"type": "integer"}, "5.5", "5.5"),
        ({"type": "number"}, "5", 5),
        ({"type": "boolean"}, "True", True),
        ({"type": "array"}, '["a"]', ["a"]),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, "None", None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1),
        ({"$ref": "#/x"}, "1", "1"),
        ({"type": 5, "enum": 5, "anyOf": 5}, "1", "1"),
    ],
)
def test_text_is_typed_by_the_schema(schema: dict[str, Any], text: str, expected: object) -> None:
    """A parameter gets the type in its schema if its text allows, else it is a string."""
    tool = {"function": {"name": "f", "parameters": {"properties": {"p": schema}}}}
    parser = output_parser("qwen_xml", None, tools=[tool])
    call = (
        f"<tool_call>\n<function=f>\n<parameter=p>\n{text}\n</parameter>\n</function>\n</tool_call>"
    )
    parsed = fold([*parser.feed(call), *parser.finish()])
    assert calls_of(parsed) == [("f", {"p": expected})]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("unit", ["x", "\n", " ", '"', "{", "<", "[TOOL_CALLS]", "<tool_call>"])
def test_endless_output_costs_linear_time(family: str, unit: str) -> None:
    """Repeated text costs linear time, inside a call and outside."""
    started = time.process_time()
    for prefix in ("", written(family, "", "", [("price", {"city": "x"})])[:-20]):
        parser = output_parser(family, REASONING_OF[family], tools=TOOLS)
        parser.feed(prefix)
        for _ in range(4000):
            parser.feed(unit)
        parser.finish()
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("template", "tools", "reasoning"),
    [
        ("qwen2_5", "hermes", None),
        ("qwen3", "hermes", "think"),
        ("qwen3_5_think", "qwen_xml", "think"),
        ("llama3_1", "llama", None),
        ("llama3_2", "llama", None),
        ("deepseekv3", "deepseek_v3", "think"),
        ("deepseek_r1_distill", "deepseek_v3", "think"),
        ("glm4moe", "glm", "think"),
        ("gptoss", "harmony", "harmony"),
        ("gemma3", None, None),
        ("phi3", None, None),
    ],
)
def test_real_templates_show_their_format(
    template: str, tools: str | None, reasoning: str | None
) -> None:
    """The family is known from the template that the model ships with."""
    assert shown_formats(shipped_templates.source(template)) == (tools, reasoning)


@pytest.mark.parametrize("family", FAMILIES)
def test_markup_itself_shows_the_format(family: str) -> None:
    """A template that contains a format's markup shows that format."""
    text = written(family, "x", "", [("price", {"city": "x"})])
    if family == "llama":
        text = 'Respond in the format {"name": function name, "parameters": dictionary}'
    assert shown_formats(text)[0] == family


def test_special_tokens_that_are_markup_are_named() -> None:
    """The decoder leaves special tokens out unless the formats in use name them; without tools none of their tags is."""
    assert output_parser("mistral", "mistral_think").markers == {
        *("[TOOL_CALLS]", "[THINK]", "[/THINK]"),
    }
    assert output_parser(None, None).markers == frozenset()
    assert all(form.markers for form in call_formats().values())
