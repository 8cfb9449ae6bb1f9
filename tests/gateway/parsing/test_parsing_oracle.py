"""Our parsers against SGLang's, on the same outputs: what agrees, and each place where we differ on purpose."""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.families.registry import call_formats
from gateway.parsing.deltas import Message, fold
from gateway.request.request import Request, ToolChoice
from gateway.turn.grammar import grammar
from rollout.engine.generation import SamplingParameters
from rollout.engine.sglang.sampling import sampling_params
from tests import engines
from tests.gateway.model_outputs import REASONING_OF, TOOLS, Call, output_parser, written

pytestmark = pytest.mark.engine

# Our family, SGLang's parser of its calls, SGLang's parser of its reasoning.
PARSERS = {
    "hermes": ("qwen25", "qwen3"),
    "qwen_xml": ("qwen3_coder", "qwen3"),
    "glm": ("glm45", "glm45"),
    "minimax": ("minimax-m2", "minimax"),
    "llama": ("llama3", "qwen3"),
    "deepseek_v3": ("deepseekv3", "deepseek-v3"),
    "deepseek_v31": ("deepseekv31", "deepseek-v3"),
    "kimi": ("kimi_k2", "kimi_k2"),
    "mistral": ("mistral", "mistral"),
    "mistral_named": ("mistral", "mistral"),
    "harmony": ("gpt-oss", "gpt-oss"),
}
CASES_PER_FAMILY = 60
WORDS = ("Paris", "melon", "é🙂", "a  b", "x, y.", "two\nlines", "don't", "1 + 1", "so: yes")
Read = dict[str, Any]

KIMI_UNNAMED = (
    '<|tool_calls_section_begin|><|tool_call_begin|>0<|tool_call_argument_begin|>{"city": "x"}'
    "<|tool_call_end|><|tool_calls_section_end|>"
)
HARMONY_PYTHON = "<|channel|>commentary to=python <|constrain|>json<|message|>{}<|call|>"
CALL = '<tool_call>\n{"name": "price", "arguments": {"city": "x"}}\n</tool_call>'


def xml_call(key: str, value: str) -> str:
    return f"<tool_call>\n<function=price>\n<parameter={key}>\n{value}\n</parameter>\n</function>\n</tool_call>"


def said(content: str = "", reasoning: str = "", **arguments: object) -> Read:
    """A message with one call of `price`, if there are arguments."""
    calls = [["price", arguments]] if arguments else []
    return {"reasoning": reasoning, "content": content, "calls": calls}


# Where we differ on purpose: family, why, the output, what we read of it, what SGLang reads.
DIFFERENCES: list[tuple[str, str, str, Read, Read]] = [
    ("hermes", "text after a call is kept", f"a\n{CALL}\nb", said("a\nb", city="x"), said("a", city="x")),
    ("hermes", "a malformed call becomes text", "<tool_call>\nprice(x)\n</tool_call>", said("<tool_call>\nprice(x)\n</tool_call>"), said()),
    ("hermes", "a name that was not offered is the client's to judge", CALL.replace("price", "other"), {**said(), "calls": [["other", {"city": "x"}]]}, said()),
    ("hermes", "a call that was cut off has been streamed", CALL.partition(' "x"')[0], {**said(), "calls": [["price", '{"city":']]}, said()),
    ("hermes", "a thought ends at its tag only, or it would depend on the chunks", f"<think>\nso\n{CALL}", said(reasoning=f"so\n{CALL}"), said(reasoning="\nso\n", city="x")),
    ("hermes", "a thought stands at the beginning only", "Yes <think>x</think>", said("Yes <think>x</think>"), said(reasoning="Yes <think>x")),
    ("minimax", "a thought needs a tag, in the output or in the prompt", "b", said("b"), said(reasoning="b")),
    ("qwen_xml", "a string parameter is a string", xml_call("city", "null"), said(city="null"), said(city=None)),
    ("qwen_xml", "what is no boolean is not false", xml_call("flag", "yes"), said(flag="yes"), said(flag=False)),
    ("qwen_xml", "values are JSON, not Python", xml_call("options", "{'a': 1}"), said(options="{'a': 1}"), said(options={"a": 1})),
    ("qwen_xml", "numbers are JSON too", xml_call("count", "007"), said(count="007"), said(count=7)),
    ("qwen_xml", "a value ends at its own tag only", xml_call("city", "a</function>b"), said(city="a</function>b"), said(city="a")),
    ("glm", "a string parameter keeps its quotes", '<tool_call>price\n<arg_key>city</arg_key>\n<arg_value>"x"</arg_value>\n</tool_call>', said(city='"x"'), said(city="x")),
    ("glm", "the newline after a name is optional since GLM-4.7", "<tool_call>price<arg_key>city</arg_key><arg_value>x</arg_value></tool_call>", said(city="x"), said()),
    ("llama", "an answer in JSON is no call", '{"name": "Bob", "age": 3}', said('{"name": "Bob", "age": 3}'), said()),
    ("llama", "a bare call has arguments", '{"name": "price"}', said('{"name": "price"}'), {**said(), "calls": [["price", {}]]}),
    ("kimi", "no name is guessed for a call without one", KIMI_UNNAMED, said(KIMI_UNNAMED), said(city="x")),
    ("harmony", "a built-in tool's call is a call", HARMONY_PYTHON, {**said(), "calls": [["python", {}]]}, said(HARMONY_PYTHON)),
]  # fmt: skip


def generated(family: str, seed: int) -> str:
    """An output as the family's template would show it."""
    pick = random.Random(f"{family} {seed}")
    values: dict[str, Any] = {
        "city": pick.choice(WORDS),
        "count": pick.randint(-99, 99),
        "ratio": pick.choice([0.5, -2.25, 1e-7, 3.0]),
        "flag": pick.random() < 0.5,
        "tags": pick.choices([*WORDS, 7, None, True, ["deep", {"er": 1}]], k=pick.randint(0, 3)),
        "options": {word: pick.choice([1, "x", None, [], {}]) for word in pick.sample(WORDS, 2)},
    }

    def arguments() -> dict[str, Any]:
        return {key: values[key] for key in pick.sample(list(values), pick.randint(0, 6))}

    calls: list[Call] = [
        (pick.choice(["price", "look_up"]), arguments()) for _ in range(pick.randint(0, 3))
    ]
    # SGLang takes all that MiniMax writes before </think> for thought, as its prompts always open one.
    thought = pick.choice(WORDS if family == "minimax" else ["", *WORDS])
    return written(family, thought, pick.choice(["", *WORDS]), calls)


def read(family: str, text: str) -> Read:
    parser = output_parser(family, REASONING_OF[family], tools=TOOLS)
    return shown(fold([*parser.feed(text), *parser.finish()]))


def shown(message: Message) -> Read:
    calls = [[call.name, decoded(call.arguments)] for call in message.tool_calls]
    return {"reasoning": message.reasoning, "content": message.content, "calls": calls}


def decoded(arguments: str) -> object:
    """Arguments that were cut off stay text."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def trimmed(parsed: Read) -> Read:
    """Whitespace at the ends differs from parser to parser of SGLang's."""
    return parsed | {name: parsed[name].strip() for name in ("reasoning", "content")}


def forced(family: str, name: str) -> str:
    request = Request(
        model="policy",
        messages=(),
        prints=(),
        sampling=SamplingParameters(),
        tools=tuple(TOOLS),
        tool_choice=ToolChoice(mode="required", name=name),
    )
    parameters = SamplingParameters(max_tokens=1, grammar=grammar(request, call_formats()[family]))
    return str(sampling_params(parameters)["structural_tag"])


def asked_of_sglang(directory: Path, outputs: list[Any], grammars: list[Any]) -> dict[str, Any]:
    asked, answered = directory / "asked.json", directory / "answered.json"
    question = {"tools": TOOLS, "outputs": outputs, "grammars": grammars}
    asked.write_text(json.dumps(question), encoding="utf-8")
    command = [str(engines.PYTHON), "-m", "tests.gateway.sglang_parsers", str(asked), str(answered)]
    subprocess.run(
        command, check=True, timeout=120, cwd=engines.ROOT, env=engines.engine_environment()
    )
    answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return answer


def test_we_read_what_sglang_reads(tmp_path: Path) -> None:
    """Content, reasoning, names and arguments agree on generated outputs of every family; each difference is listed."""
    texts = [(family, generated(family, n)) for family in PARSERS for n in range(CASES_PER_FAMILY)]
    texts += [(family, text) for family, _, text, *_ in DIFFERENCES]
    outputs = [
        {"text": text, "tool_parser": PARSERS[family][0], "reasoning_parser": PARSERS[family][1]}
        for family, text in texts
    ]
    theirs = asked_of_sglang(tmp_path, outputs, [])["outputs"]
    num_generated = len(texts) - len(DIFFERENCES)
    for (family, text), their in zip(texts[:num_generated], theirs, strict=False):
        assert (text, trimmed(read(family, text))) == (text, trimmed(their))
    for difference, their in zip(DIFFERENCES, theirs[num_generated:], strict=True):
        family, why, text, ours, known = difference
        assert (why, read(family, text)) == (why, ours)
        assert (why, their) == (why, known)


def test_a_forced_call_is_one_that_we_read(tmp_path: Path) -> None:
    """SGLang's grammar engine accepts each family's grammar, lets the model write the call, and refuses prose."""
    arguments = {"city": "x", "count": 5}
    calls = {
        family: written(family, "", "", [("price", arguments)]).lstrip("\n") for family in PARSERS
    }
    calls["llama"] = calls["llama"].removeprefix("<|python_tag|>")
    calls["harmony"] = calls["harmony"].removesuffix("<|call|>")
    grammars = [
        {"structural_tag": forced(family, "price"), "text": text}
        for family, call in calls.items()
        for text in (call, "Hello", call.replace("price", "look_up"))
    ]
    answers = asked_of_sglang(tmp_path, [], grammars)["grammars"]
    assert dict(zip(calls, zip(*[iter(answers)] * 3, strict=True), strict=True)) == dict.fromkeys(
        calls, (True, False, False)
    )
    for family, call in calls.items():
        assert read(family, call)["calls"] == [["price", arguments]]
