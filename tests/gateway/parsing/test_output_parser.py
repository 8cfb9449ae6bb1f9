"""The output parser: reasoning, content and calls are separated while they stream, however the text is cut."""

import itertools
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    Message,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    fold,
)
from gateway.parsing.output_parser import OutputParser
from tests.gateway.model_outputs import output_parser, shown_formats
from tests.profiles import examples

CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'
FRAGMENTS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", "\n\n", " ", "Hi", "<", "</", "tool_call>",
    '{"name": "price", "arguments": ', '{"arguments": {"a": 1}, "name": "late"}', '{"name": "now"}', "{", "}", "[", "]",
    '"', "\\", '{"item": "me\\"lon </tool_call> }"}', '{"item": "melon"}', ",", ":", "1", "é🙂", CALL,
)  # fmt: skip


def parse(
    pieces: list[str], *, tools: str | None = "hermes", prompt_tail: str = ""
) -> tuple[list[Delta], OutputParser]:
    numbers = itertools.count()
    parser = output_parser(
        tools, "think", prompt_tail=prompt_tail, new_id=lambda: f"call_{next(numbers)}"
    )
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    return deltas + parser.finish(), parser


def message(text: str, **options: str | None) -> tuple[Message, bool]:
    deltas, parser = parse([text], **options)
    return fold(deltas), parser.malformed


def calls_of(parsed: Message) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in parsed.tool_calls]


@examples(7.5)
@given(
    st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join),
    st.lists(st.integers(0, 200), max_size=30),
    st.sampled_from(["", "<|im_start|>assistant\n<think>\n"]),
)
def test_any_chunking_folds_to_the_whole_parse(
    text: str, cuts: list[int], prompt_tail: str
) -> None:
    """A stream cut anywhere, single characters included, folds to what the whole text parses to."""
    whole, parser = parse([text], prompt_tail=prompt_tail)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for pieces in ([text[a:b] for a, b in itertools.pairwise(bounds)], list(text)):
        deltas, chunked = parse(pieces, prompt_tail=prompt_tail)
        assert fold(deltas) == fold(whole)
        assert chunked.malformed == parser.malformed


@examples(4)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_nothing_the_model_wrote_is_lost(text: str) -> None:
    """Every letter and digit outside a call's shell reaches the client, in reasoning, content or a call."""
    parsed, _ = message(text)
    said = (
        parsed.content
        + parsed.reasoning
        + "".join(f"{c.name}{c.arguments}" for c in parsed.tool_calls)
    )
    for word in ("Hi", "é🙂", "melon", "1"):
        assert said.count(word) == text.count(word)


@examples(2.5)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_calls_start_and_end_in_order(text: str) -> None:
    """Each call starts with the next index, gets its arguments, and ends before the next one starts."""
    deltas, parser = parse(list(text))
    running: list[int] = []
    started = 0
    for delta in deltas:
        match delta:
            case ToolCallStart(index=index):
                assert (index, running) == (started, [])
                running, started = [index], started + 1
            case ToolArgumentsDelta(index=index):
                assert running == [index]
            case ToolCallEnd(index=index):
                assert running == [index]
                running = []
    assert running == []
    assert parser.num_tool_calls == started


@examples(1.5)
@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=6),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=12),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=4), inner, max_size=3)
                ),
                max_leaves=6,
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
)
def test_well_formed_calls_come_out_as_written(
    arguments: list[dict[str, object]], indent: int | str | None, ascii_only: bool
) -> None:
    """The arguments of a call are the very characters that the model wrote."""
    written = [json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in arguments]
    text = "\n".join(
        f'<tool_call>\n{{"name": "f", "arguments": {each}}}\n</tool_call>' for each in written
    )
    parsed, malformed = message(text)
    assert calls_of(parsed) == [("f", each) for each in written]
    assert (parsed.content, malformed) == ("", False)


def test_arguments_stream_as_they_are_generated() -> None:
    """The name is sent before the arguments are complete, and these follow piece by piece."""
    pieces = [
        "<tool_call>\n",
        '{"name": "price", "arg',
        'uments": {"item"',
        ': "mel',
        'on"}',
        "}\n</tool_call>",
    ]
    parser = output_parser("hermes", None, new_id=lambda: "call_0")
    assert [parser.feed(piece) for piece in pieces] == [
        [],
        [],
        [ToolCallStart(0, "call_0", "price"), ToolArgumentsDelta(0, '{"item"')],
        [ToolArgumentsDelta(0, ': "mel')],
        [ToolArgumentsDelta(0, 'on"}'), ToolCallEnd(0)],
        [],
    ]


def test_text_streams_without_delay() -> None:
    """Plain text is passed on in the call that brings it."""
    parser = output_parser("hermes", "think")
    assert parser.feed("Hello") == [ContentDelta("Hello")]
    assert parser.feed(" a < b") == [ContentDelta(" a < b")]
    assert parser.feed(", a <") == [ContentDelta(", a ")]
    assert parser.feed("= b") == [ContentDelta("<= b")]


@pytest.mark.parametrize(
    ("text", "content", "calls", "malformed"),
    [
        (CALL, "", [("price", '{"item": "melon"}')], False),
        (f"Let me see.\n{CALL}", "Let me see.", [("price", '{"item": "melon"}')], False),
        (f"a\n{CALL}\nb", "a\nb", [("price", '{"item": "melon"}')], False),
        (f"{CALL}\n\nafter\n", "after\n", [("price", '{"item": "melon"}')], False),
        (CALL.removesuffix("</tool_call>"), "", [("price", '{"item": "melon"}')], False),
        ('<tool_call>{"name": "now"}</tool_call>', "", [("now", "{}")], False),
        ('<tool_call>{"arguments": {"a" :1}, "name": "f"}</tool_call>', "", [("f", '{"a" :1}')], False),
        ('<tool_call>{"name": "f", "parameters": {}}</tool_call>', "", [("f", "{}")], False),
        ('<tool_call>{"name": "f", "arguments": {}, "id": "7"}</tool_call>', "", [("f", "{}")], False),
        ("<tool_call>\nprice(melon)\n</tool_call>", "<tool_call>\nprice(melon)\n</tool_call>", [], True),
        ("so\n<tool_call>{}</tool_call>.", "so\n<tool_call>{}</tool_call>.", [], True),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', [], True),
        ('<tool_call>{"name": "f", "argu', '<tool_call>{"name": "f", "argu', [], True),
        ('<tool_call>{"name": "f", "arguments": {"a": "b', "", [("f", '{"a": "b')], True),
        ('<tool_call>{"name": "f", "arguments": {"a": 1</tool_call>x', "x", [("f", '{"a": 1')], True),
        ('<tool_call>{"name": "f", "arguments": {}\n</tool_call>', "", [("f", "{}")], True),
        ('<tool_call>{"name": "f", "arguments": {a: 1}}</tool_call>', "", [("f", "{a: 1}")], True),
        (f"<tool_call>{CALL}", "<tool_call>", [("price", '{"item": "melon"}')], True),
        ("an open <tool_ca", "an open <tool_ca", [], False),
        ("trailing newline\n", "trailing newline\n", [], False),
        ("", "", [], False),
    ],
)  # fmt: skip
def test_calls_and_text_around_them(
    text: str, content: str, calls: list[tuple[str, str]], malformed: bool
) -> None:
    """Text around calls is kept, a call without arguments has none, and what is no call stays text."""
    parsed, flagged = message(text)
    assert (parsed.content, calls_of(parsed), flagged) == (content, calls, malformed)


def test_a_closing_tag_inside_a_string_is_an_argument() -> None:
    """An agent may write code that contains the markup itself."""
    arguments = json.dumps({"code": 'x = "</tool_call>" # } {'})
    parsed, malformed = message(f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>')
    assert calls_of(parsed) == [("f", arguments)]
    assert not malformed


@pytest.mark.parametrize(
    ("text", "tail", "reasoning", "content"),
    [
        ("<think>\nWell.\n</think>\n\nYes.", "", "Well.", "Yes."),
        ("\n <think>Well.</think>Yes.", "", "Well.", "Yes."),
        ("<think>\n\n</think>\n\nYes.", "", "", "Yes."),
        ("<think>\nno end\n", "", "no end", ""),
        ("Well.\n</think>\n\nYes.", "assistant\n<think>\n", "Well.", "Yes."),
        ("Yes <think>not at the start</think>", "", "", "Yes <think>not at the start</think>"),
        ("\n\nYes.", "", "", "\n\nYes."),
        ("<thin", "", "", "<thin"),
        ("<think>a\n\nb</thin</think>c", "", "a\n\nb</thin", "c"),
        (f"<think>maybe {CALL}</think>no", "", f"maybe {CALL}", "no"),
    ],
)
def test_reasoning(text: str, tail: str, reasoning: str, content: str) -> None:
    """Reasoning is what stands in the tags at the beginning, without the newlines that belong to them."""
    parsed, _ = message(text, prompt_tail=tail)
    assert (parsed.reasoning, parsed.content, parsed.tool_calls) == (reasoning, content, [])


def test_reasoning_may_end_in_a_call() -> None:
    """Reasoning, content and call are separated."""
    parsed, malformed = message(f"<think>\nHm.\n</think>\n\nOne moment.\n{CALL}")
    assert (parsed.reasoning, parsed.content, malformed) == ("Hm.", "One moment.", False)
    assert calls_of(parsed) == [("price", '{"item": "melon"}')]


def test_without_tools_markup_is_text() -> None:
    """Without tools in the request, a call stays text."""
    parsed, malformed = message(f"x\n{CALL}\n", tools=None)
    assert (parsed.content, parsed.tool_calls, malformed) == (f"x\n{CALL}\n", [], False)


@pytest.mark.parametrize(
    ("tools", "text", "id_"),
    [
        ("mistral_named", "[TOOL_CALLS]f[ARGS]{}", "call_0"),
        ("mistral_named", "[TOOL_CALLS]f[CALL_ID]VvvODy9mT[ARGS]{}", "VvvODy9mT"),
        ("kimi", "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:7<|tool_call_argument_begin|>{}", r"functions\.f:7"),
    ],
)  # fmt: skip
def test_an_id_that_the_model_writes_is_the_calls(tools: str, text: str, id_: str) -> None:
    """A model that writes the id itself will read that one again; any other call gets a new one."""
    parser = output_parser(tools, None, new_id=lambda: "call_0")
    call = fold([*parser.feed(text), *parser.finish()]).tool_calls[0]
    assert re.fullmatch(id_, call.id)


def test_long_malformed_header_costs_linear_time() -> None:
    """A call whose name never ends is not read again from its beginning for each token."""

    def seconds(length: int) -> float:
        parser = output_parser("hermes", None)
        text = '<tool_call>{"name": "' + "x" * length
        started = time.process_time()
        pieces = [text[start : start + 4] for start in range(0, len(text), 4)]
        deltas = [delta for piece in pieces for delta in parser.feed(piece)]
        assert fold([*deltas, *parser.finish()]).content == text
        return time.process_time() - started

    short = min(seconds(25_000) for _ in range(3))
    assert seconds(200_000) < 24 * short  # 8 times where it is linear, 64 where it is not


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<tool_call>{{ x }} </think>", ("hermes", "think")),
        ("<tool_call>", ("hermes", None)),
        ("<|tool_call_start|> <think></think>", (None, "think")),
        ("<|im_system|>tool_declare<|im_middle|>{{ tools }}", ("kimi", None)),
        ("{{ messages }}", (None, None)),
    ],
)
def test_formats_are_detected_from_the_template(
    source: str, expected: tuple[str | None, str | None]
) -> None:
    """A template tells how its model writes; unknown markup is left as text."""
    assert shown_formats(source) == expected
