"""A scripted engine as a process of its own, started with the command line of the real one.

On two cores a restart of SGLang takes most of a minute, in which nothing else gets to run. This one samples at random from
the vocabulary, with the logprob of doing so, and takes a moment for each token; it loads policies by their number alone.
"""

import argparse
import asyncio
import json
import math
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rollout.ready_file import ReadyFile
from tests.engine_script import Length, Step, Tokens, Wait
from tests.scripted_engine import running_engine

TOKEN_SECONDS = 0.03
FIRST_ID = 3  # below are special tokens
LONGEST = 24


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready-file", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--weight-version", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    asyncio.run(serve(arguments))


async def serve(arguments: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    vocabulary = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    async with running_engine(arguments.weight_version, port=arguments.port) as engine:
        engine.policy = lambda body: sampled(body, vocabulary)
        ReadyFile(arguments.ready_file).write(host="127.0.0.1", port=arguments.port)
        await stopping.wait()


def sampled(body: dict[str, Any], vocabulary: int) -> Iterator[Step]:
    """Up to `LONGEST` tokens, two at a time."""
    wanted = body["sampling_params"]["max_new_tokens"]
    count = random.randint(1, max(1, min(wanted, LONGEST)))
    logprob = -math.log(vocabulary)
    while count > 0:
        ids = [random.randrange(FIRST_ID, vocabulary) for _ in range(min(count, 2))]
        yield Tokens(ids, [logprob] * len(ids))
        yield pause(TOKEN_SECONDS * len(ids))
        count -= 2
    yield Length()


def pause(seconds: float) -> Wait:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, event.set)
    return Wait(event)


if __name__ == "__main__":
    main()
