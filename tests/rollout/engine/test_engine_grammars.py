"""Grammars that would stop the real SGLang: what it costs the caller, the other callers, and the engine afterwards."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import psutil
import pytest

from rollout.engine.engine import Engine
from rollout.engine.errors import EngineBusy, EngineError, GrammarRefused
from rollout.engine.generation import Chunk, GenerateRequest, SamplingParameters
from rollout.engine.grammar import Ebnf, Grammar, JsonSchema, Regex
from rollout.tokenizer.tokenizer import Tokenizer
from tests.engines import connected, num_calls

pytestmark = pytest.mark.engine

AT_ONCE = 8


def schema(content: object) -> JsonSchema:
    return JsonSchema(json.dumps(content))


def large_enum(number: int) -> Grammar:
    """12,000 values."""
    return schema({"enum": [f"value {value}-{number}" for value in range(12_000)]})


def deep_choice(number: int) -> Grammar:
    """Two objects at each of 11 levels."""
    inner: object = {"const": number}
    for _ in range(11):
        inner = {"anyOf": [_object("a", inner), _object("b", inner)]}
    return schema(inner)


def _object(name: str, value: object) -> object:
    return {"type": "object", "properties": {name: value}, "required": [name]}


def many_rules(number: int) -> Grammar:
    """A long row of rules."""
    rules = [f'r{rule} ::= "a{number}" | "b"' for rule in range(8_000)]
    return Ebnf("\n".join(["root ::= " + " ".join(f"r{rule}" for rule in range(8_000)), *rules]))


def nested_repetition(number: int) -> Grammar:
    """Compiles at once, and takes seconds per token."""
    return Regex(f"(([a-z ]+)*)+(([a-z ]*)*)+x{number}")


def ambiguous_rule(number: int) -> Grammar:
    """Compiles at once, and each token takes longer than the one before; the first ones are fast."""
    return Ebnf(f'root ::= root root | "a" | "aa" | "{number}"')


HOSTILE = [large_enum, deep_choice, many_rules, nested_repetition, ambiguous_rule]


@pytest.fixture
async def client(engine: str) -> AsyncIterator[Engine]:
    async with connected(engine) as client:
        yield client


async def sample(client: Engine, name: str, grammar: Grammar) -> Chunk:
    sampling = SamplingParameters(max_tokens=24, grammar=grammar)
    return await client.generate(GenerateRequest(name, [10, 20], sampling))


def trials(engine: str) -> list[psutil.Process]:
    """The processes in which grammars are tried: the youngest ones of the process that forks them."""
    port = urlsplit(engine).port
    (server,) = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    }
    parents = psutil.Process(server).children()
    return [trial for parent in parents for trial in parent.children()]


async def until_idle(engine: str) -> None:
    """Until nothing is sampled, queued or tried: within 1 s on a machine of its own."""
    async with asyncio.timeout(15):
        while await num_calls(engine) or trials(engine):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_a_grammar_that_costs_too_much_is_refused_and_others_go_on(
    client: Engine, engine: str, hostile: Callable[[int], Grammar]
) -> None:
    """Eight at once: each gets an answer, other callers with grammars of their own are served meanwhile, and then it is quiet."""
    answered, name = asyncio.Event(), hostile.__name__

    async def bystander() -> list[float]:
        seconds = []
        while not answered.is_set():
            started = time.monotonic()
            call = f"{name}-{len(seconds)}"
            await sample(client, f"by-{call}", schema(_object(call, {"type": "integer"})))
            seconds.append(time.monotonic() - started)
        return seconds

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(bystander())
        calls = [sample(client, f"{name}-{n}", hostile(n)) for n in range(AT_ONCE)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        answered.set()
    expected = {GrammarRefused, EngineBusy} | ({Chunk} if hostile is ambiguous_rule else set())
    assert {type(outcome) for outcome in outcomes} <= expected
    assert statistics.median(other.result()) < 5  # 1 s at most on a machine of its own
    await until_idle(engine)


async def test_a_grammar_of_few_tokens_is_served(client: Engine) -> None:
    """A trial that ends after one or three tokens shows no growth, however their times differ."""
    for number, text in enumerate(["on", "[a-z]{3}", "(yes|no)", "[0-9]{1,4}"]):
        assert (await sample(client, f"short-{number}", Regex(text))).ids


async def test_a_grammar_that_becomes_slow_ends_its_call_alone(
    client: Engine, engine: str, tokenizer: Tokenizer
) -> None:
    """Random sampling does not find the one letter behind which it is slow; the call that does is refused, and so is the next."""
    hidden = Regex("[0-9a-fh-z]{1,300}|g(([a-z ]+)*)+(([a-z ]*)*)+x")
    (letter,) = tokenizer.encode("g")
    sampling = SamplingParameters(max_tokens=200, grammar=hidden, logit_bias={str(letter): 100.0})
    undisturbed = SamplingParameters(max_tokens=400, ignore_eos=True)

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(client.generate(GenerateRequest("other", [1], undisturbed)))
        for number in range(2):
            with pytest.raises(GrammarRefused, match="too long"):
                await client.generate(GenerateRequest(f"hidden-{number}", [1], sampling))

    assert len(other.result().ids) == 400
    await until_idle(engine)


async def test_a_verdict_is_given_once(client: Engine, engine: str) -> None:
    """Another gateway that asks about the same grammar gets the answer without a trial."""
    grammar = nested_repetition(100)
    with pytest.raises(GrammarRefused):
        await sample(client, "first", grammar)
    await until_idle(engine)
    tried: list[psutil.Process] = []
    async with connected(engine) as another:
        second = asyncio.create_task(sample(another, "second", grammar))
        while not second.done():
            tried += trials(engine)
            await asyncio.sleep(0.01)
    with pytest.raises(GrammarRefused):
        second.result()
    assert tried == []


async def test_a_caller_who_leaves_takes_the_work_along(client: Engine, engine: str) -> None:
    """No process goes on with the grammar."""
    call = await call_being_tried(client, engine)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await until_idle(engine)


async def call_being_tried(client: Engine, engine: str) -> asyncio.Task[Chunk]:
    """A call whose trial runs now. On a busy machine a trial can end between two looks, so there are several."""
    for number in range(200, 220):
        call = asyncio.create_task(sample(client, f"tried-{number}", nested_repetition(number)))
        while not call.done():
            if trials(engine):
                return call
            await asyncio.sleep(0.01)
        assert isinstance(call.exception(), GrammarRefused | EngineBusy)
    pytest.fail("no process of a trial was seen")


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (Regex("a\0b"), "null characters"),
        (Regex("(a"), "not valid"),
        (JsonSchema('{"type": '), "not valid"),
        (Ebnf("root ::= nowhere"), "not valid"),
        (Regex("a" * 2**19), "characters"),
        (Regex("(" * 5000 + "a" + ")" * 5000), "not valid"),
    ],
)
async def test_a_grammar_that_is_wrong_is_refused_in_words(
    client: Engine, grammar: Grammar, words: str
) -> None:
    """The message says what is wrong and names no file of the compiler."""
    with pytest.raises(GrammarRefused, match=words) as refusal:
        await sample(client, "wrong", grammar)

    assert "/project/" not in str(refusal.value)
    assert isinstance(refusal.value, EngineError)
