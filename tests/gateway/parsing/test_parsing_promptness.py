"""After each character the client has all text that every continuation agrees on."""

import itertools
import random
from collections.abc import Sequence

import pytest

from gateway.parsing.deltas import Delta, fold
from gateway.parsing.output_parser import OutputParser
from tests.gateway.model_outputs import CALLS, MARKUP, REASONING_OF, TOOLS, output_parser, written

# Reasoning, content, and of each call name and arguments.
Read = tuple[str, str, list[tuple[str, str]]]
PRICE = ("price", {"city": "Par\n<is> é", "count": 12, "tags": ["a", {"b": 1}]})
NUM_PLACES = 60


def read(deltas: list[Delta]) -> Read:
    message = fold(deltas)
    calls = [(call.name, call.arguments) for call in message.tool_calls]
    return message.reasoning, message.content, calls


def new_parser(family: str) -> OutputParser:
    return output_parser(family, REASONING_OF[family], tools=TOOLS)


def whole(family: str, text: str) -> Read:
    parser = new_parser(family)
    return read([*parser.feed(text), *parser.finish()])


def common(texts: Sequence[str]) -> str:
    """The longest common beginning."""
    first, last = min(texts), max(texts)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:length]


def agreed(reads: Sequence[Read]) -> Read:
    """What all begin with; of calls, the last that all have may have begun only."""
    calls: list[tuple[str, str]] = []
    for each in zip(*(calls for _, _, calls in reads), strict=False):
        if len({name for name, _ in each}) > 1:
            break
        arguments = [arguments for _, arguments in each]
        calls.append((each[0][0], common(arguments)))
        if len(set(arguments)) > 1:
            break
    thoughts, contents = [read[0] for read in reads], [read[1] for read in reads]
    return common(thoughts), common(contents), calls


def continuations(family: str, before: str, rest: str) -> list[str]:
    """How the output might go on: as it did, with an end, with any markup, with the rest of markup that has begun."""
    call = written(family, "", "", [("look_up", {"city": "x"})])
    tags = [tag for tag in dict.fromkeys(MARKUP.findall(f"{before}{rest}{call}")) if len(tag) > 1]
    begun = [tag[k:] for tag in tags for k in range(1, len(tag)) if before.endswith(tag[:k])]
    goes_on = [rest, "", "~", call, f"~{call}", f"\n{call}"]
    goes_on += [prefix + tag for tag in tags for prefix in ("", "~", "\n")]
    goes_on += [tag + more for tag in begun for more in ("", "~", call)]
    for called in (call, call.lstrip("\n")):
        goes_on += [called[k:] for k in range(1, len(called)) if before.endswith(called[:k])]
    return goes_on


@pytest.mark.parametrize("family", [*CALLS, "harmony"])
def test_all_that_is_certain_has_been_sent(family: str) -> None:
    """At any place the sent text is exactly what all continuations begin with."""
    outputs = [
        written(family, "Hm, so.\nYes", "One\nmoment.", [PRICE, ("look_up", {})]),
        written(family, "", "Just < text, {x: [1]}.\n", []),
        written(family, "Think", "", [("look_up", {"options": {"a": {"b": []}}})]) + "\n\nafter",
    ]
    if family == "harmony":  # there a tag would end the message, even within a string
        outputs = [output.replace("\\n<is>", "\\n is ") for output in outputs]
    places = [(output, end) for output in outputs for end in range(1, len(output))]
    for output, end in random.Random(family).sample(places, NUM_PLACES):
        before, rest = output[:end], output[end:]
        parser = new_parser(family)
        sent = read(list(itertools.chain.from_iterable(map(parser.feed, before))))
        ways = continuations(family, before, rest)
        assert (before, sent) == (before, agreed([whole(family, before + way) for way in ways]))
