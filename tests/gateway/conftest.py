"""A gateway on real Redis in front of a scripted engine, and a policy whose words a test can spell."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateways import Gateway, StartGateway
from tests.rollout.model_directory import byte_level_bpe, write_model_directory
from tests.rollout.shipped_templates import source
from tests.scripted_engine import ScriptedEngine, Stop, Tokens, running_engine

T = TypeVar("T")


@pytest.fixture
async def scripted(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    """Samples `Hello there.` if a test gives no script."""
    async with running_engine() as scripted:
        scripted.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        yield scripted


@pytest.fixture
async def served(start_gateway: StartGateway, scripted: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted) as running:
        yield running


@pytest.fixture
async def other(
    start_gateway: StartGateway, served: Gateway, scripted: ScriptedEngine
) -> AsyncIterator[Gateway]:
    """A second gateway of the same project, engine and ledger."""
    async with start_gateway(scripted, project=served.project) as running:
        yield running


@pytest.fixture(scope="session")
def qwen3_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reasoning model's template, the real one of Qwen3."""
    bpe = byte_level_bpe()
    return write_model_directory(
        tmp_path_factory.mktemp("qwen3"),
        bpe,
        chat_template=source("qwen3"),
        eos="<|im_end|>",
        config={"eos_token_id": [bpe.token_to_id("<|im_end|>")]},
        bos="<|endoftext|>",
    )


@pytest.fixture(scope="session")
def qwen3(qwen3_dir: Path) -> Tokenizer:
    return Tokenizer.load(qwen3_dir)


@pytest.fixture
async def thinking(
    start_gateway: StartGateway, scripted: ScriptedEngine, qwen3_dir: Path
) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted, model_dir=qwen3_dir) as running:
        yield running


def spell(tokenizer: Tokenizer, text: str) -> list[Tokens]:
    """The text's tokens, one event each."""
    return [Tokens([id_]) for id_ in tokenizer.encode(text)]


def end_of_turn(tokenizer: Tokenizer) -> Stop:
    return Stop(min(tokenizer.eos_ids))


async def eventually(ask: Callable[[], Awaitable[T]], *, seconds: float = 5) -> T:
    """The first answer that is not empty; for effects that nothing announces."""
    async with asyncio.timeout(seconds):
        while not (answer := await ask()):
            await asyncio.sleep(0.01)
    return answer
