"""A real gateway for recipes, with a model that says what a function makes of its prompt."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.engine_script import Step, Stop, Tokens
from tests.gateways import ADMIN_KEY, StartGateway
from tests.scripted_engine import running_engine
from turngate import Turngate

Say = Callable[[str], str]


@asynccontextmanager
async def stage(
    start_gateway: StartGateway, model_dir: Path, say: Say, *, last_tokens: int = 0
) -> AsyncIterator[Turngate]:
    """A client of the gateway. `say` gets the prompt, or the last tokens of a long one, and returns the reply."""
    tokenizer = Tokenizer.load(model_dir)

    def policy(request: dict[str, Any]) -> Iterable[Step]:
        prompt = tokenizer.decode(request["input_ids"][-last_tokens:])
        yield Tokens(tokenizer.encode(say(prompt)))
        yield Stop(min(tokenizer.eos_ids))

    async with running_engine() as engine:
        engine.policy = policy
        async with start_gateway(engine, model_dir=model_dir) as gateway:
            with Turngate(gateway.url, ADMIN_KEY) as turngate:
                yield turngate
