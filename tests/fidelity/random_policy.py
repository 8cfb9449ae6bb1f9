"""A policy without weights: what it says, and how it ends, follows from the request's seed alone.

So a test knows nothing of what is sampled before it is sampled, and yet can have the same sampled again.
"""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.scripted_engine import Length, Step, Stop, Tokens, Version, Wait

WORDS = ("melon", "naïve", "vase 🙂", "two\n", " and ", "“so”", "1234", "  ", "日本", "e\u0301")
LONG_SEEDS = 2**40  # from here on outputs are long and random, so that no two agree
HELD_SEEDS = 2**41  # and from here on they stop half way until they are released


class RandomPolicy:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._end = min(tokenizer.eos_ids)
        self._held: dict[int, asyncio.Event] = {}

    def release(self, seed: int) -> None:
        """Let a held output go on, or not stop at all."""
        self._gate(seed).set()

    def __call__(self, body: dict[str, Any]) -> Iterator[Step]:
        """The steps of one output."""
        seed = body["sampling_params"]["sampling_seed"]
        rng = random.Random(seed)
        ids = self._words(rng, seed)
        half = rng.randint(1, len(ids))
        yield from _sampled(ids[:half], rng)
        if seed >= HELD_SEEDS:
            yield Wait(self._gate(seed))
        if rng.random() < 0.1:
            yield Version(rng.randint(1, 9))
        yield from _sampled(ids[half:], rng)
        yield Length() if rng.random() < 0.15 else Stop(self._end)

    def _gate(self, seed: int) -> asyncio.Event:
        return self._held.setdefault(seed, asyncio.Event())

    def _words(self, rng: random.Random, seed: int) -> list[int]:
        if seed >= LONG_SEEDS:
            return self._any_ids(rng, 12)
        kind = rng.choice(("text", "text", "letters", "ids", "thought", "call", "call", "garbled"))
        text = "".join(rng.choices(WORDS, k=rng.randint(1, 4)))
        match kind:
            case "letters":  # not how its text would be encoded
                return [id_ for letter in text for id_ in self._tokenizer.encode(letter)]
            case "ids":  # half characters, and tokens that no text encodes to
                return self._any_ids(rng, rng.randint(1, 6))
            case "thought":
                text = f"<think>\n{text}\n</think>\n\n{rng.choice(WORDS)}"
            case "call":
                text = _thought(rng) + "\n".join(_call(rng) for _ in range(rng.randint(1, 2)))
            case "garbled":
                text = _call(rng)[: rng.randint(12, 50)]
        return self._tokenizer.encode(text)

    def _any_ids(self, rng: random.Random, length: int) -> list[int]:
        plain = range(self._tokenizer.vocab_size - 100)
        chosen = [rng.choice(plain) for _ in range(length)]
        return [id_ for id_ in chosen if id_ not in self._tokenizer.eos_ids] or [plain[-1]]


def _sampled(ids: list[int], rng: random.Random) -> Iterator[Tokens]:
    """In events of one to three tokens."""
    while ids:
        size = rng.randint(1, 3)
        event, ids = ids[:size], ids[size:]
        yield Tokens(event, [-rng.expovariate(1.0) for _ in event])


def _thought(rng: random.Random) -> str:
    return f"<think>\n{rng.choice(WORDS)}\n</think>\n\n" if rng.random() < 0.3 else ""


def _call(rng: random.Random) -> str:
    arguments = {"item": rng.choice(WORDS), "count": rng.randint(0, 9)}
    spelling = rng.choice((None, 1))
    written = json.dumps(
        {"name": "price", "arguments": arguments},
        indent=spelling,
        ensure_ascii=rng.random() < 0.5,
    )
    return f"<tool_call>\n{written}\n</tool_call>"
