"""A gateway whose policy says `Hello there.`"""

from collections.abc import AsyncIterator

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import ScriptedEngine, running_engine


@pytest.fixture
async def scripted(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    async with running_engine() as engine:
        engine.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        yield engine


@pytest.fixture
async def served(start_gateway: StartGateway, scripted: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted) as gateway:
        yield gateway
