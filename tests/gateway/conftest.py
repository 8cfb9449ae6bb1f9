"""A gateway on real Redis in front of a scripted engine, and a policy whose words a test can spell."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from rollout.tokenizer import Tokenizer
from tests.gateway.scripted_engine import ScriptedEngine, Stop, Tokens, running_engine
from tests.gateways import Gateway, StartGateway

T = TypeVar("T")


@pytest.fixture
async def scripted(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    """Says `Hello there.` unless told otherwise."""
    async with running_engine() as scripted:
        scripted.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        yield scripted


@pytest.fixture
async def served(start_gateway: StartGateway, scripted: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted) as running:
        yield running


def spell(tokenizer: Tokenizer, text: str) -> list[Tokens]:
    """The text's tokens, one event each."""
    return [Tokens([id_]) for id_ in tokenizer.encode(text)]


def end_of_turn(tokenizer: Tokenizer) -> Stop:
    return Stop(min(tokenizer.eos_ids))


async def eventually(ask: Callable[[], Awaitable[T]], *, seconds: float = 5) -> T:
    """The first answer that is not empty; for effects that are announced to nobody."""
    async with asyncio.timeout(seconds):
        while not (answer := await ask()):
            await asyncio.sleep(0.01)
    return answer
