"""An agent that does to its history, at random, whatever agents and their SDKs do to it.

All it knows is what a client knows: the messages it sent and the replies it got.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fidelity.echo import echoed
from tests.fidelity.random_client import Answer, Client
from tests.fidelity.random_policy import HELD_SEEDS, LONG_SEEDS, RandomPolicy
from tests.scripted_engine import ScriptedEngine

Message = dict[str, Any]
TOOL: Message = {
    "type": "function",
    "function": {
        "name": "price",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
        },
    },
}
TEXTS = ("Hi", "What is a melon?\n", " And now? ", "日本語 🙂", "a", "Go on,\n\nplease.")
WEIGHTS = {
    "extend": 10,
    "fork": 4,
    "again": 2,
    "edit": 2,
    "cut": 2,
    "compact": 2,
    "parallel": 3,
    "retry": 3,
    "join": 1,
    "leave": 1,
    "leave_and_retry": 1,
    "twin": 2,
    "choose": 1,
    "side": 1,
    "prefill": 1,
}


@dataclass(frozen=True)
class Ask:
    """What is sent."""

    messages: tuple[Message, ...]
    seed: int
    key: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class RandomAgent:
    def __init__(
        self,
        episode_id: str,
        seed: int,
        *,
        clients: list[Client],
        engine: ScriptedEngine,
        policy: RandomPolicy,
    ) -> None:
        self.episode_id = episode_id
        self.side_turns: set[str] = set()
        self.left_turns: set[str] = set()
        self.did: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._clients = clients
        self._engine = engine
        self._policy = policy
        self._has_tools = self._rng.random() < 0.8
        self._histories: list[tuple[Message, ...]] = []  # each ends with a reply
        self._last: tuple[Ask, Answer] | None = None

    async def run(self, num_steps: int) -> None:
        system: Message = {"role": "system", "content": self._rng.choice(TEXTS)}
        start = (system,) if self._rng.random() < 0.5 else ()
        await self._send(self._ask((*start, self._user())))
        for _ in range(num_steps):
            (name,) = self._rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
            self.did[name] += 1
            behave: Callable[[], Awaitable[object]] = getattr(self, f"_{name}")
            await behave()

    async def _extend(self) -> None:
        await self._send(self._ask(self._continued(self._histories[-1])))

    async def _fork(self) -> None:
        """Go on from any reply, however old."""
        await self._send(self._ask(self._continued(self._rng.choice(self._histories))))

    async def _again(self) -> None:
        """The same messages; a second sample."""
        assert self._last is not None
        await self._send(replace(self._last[0], seed=self._seed(), key=""))

    async def _edit(self) -> None:
        messages = list(self._continued(self._histories[-1]))
        place = self._rng.randrange(len(messages))
        messages[place] = {**messages[place], "content": self._rng.choice(TEXTS)}
        await self._send(self._ask(tuple(messages)))

    async def _cut(self) -> None:
        """A sliding window: the oldest messages go."""
        messages = self._continued(self._histories[-1])
        await self._send(self._ask(messages[self._rng.randrange(len(messages)) :]))

    async def _compact(self) -> None:
        """A summary takes the place of what came before."""
        summary = {"role": "user", "content": f"So far: {self._rng.choice(TEXTS)}"}
        await self._send(self._ask((summary, *self._continued(self._histories[-1])[-2:])))

    async def _parallel(self) -> None:
        histories = self._rng.choices(self._histories, k=self._rng.randint(2, 4))
        asks = [self._ask(self._continued(history)) for history in histories]
        await asyncio.gather(*map(self._send, asks))

    async def _retry(self) -> None:
        """The reply got lost; the call is repeated as it was."""
        ask = self._keyed(self._ask(self._continued(self._histories[-1])))
        first = await self._send(ask)
        again = await self._call(ask, is_repeat=True)
        assert again == first, (again, first)

    async def _join(self) -> None:
        """The call is repeated while it still runs."""
        ask = self._keyed(self._ask(self._continued(self._histories[-1])), by_body=False)
        client, body, headers = self._client(), self._body(ask), self._headers(ask)
        first, again = await asyncio.gather(*(client.ask(body, headers) for _ in range(2)))
        assert again == first, (again, first)
        self._remember(ask, first, 0)

    async def _leave(self) -> None:
        """The client goes away in mid-stream."""
        await self._hang_up(self._held())

    async def _leave_and_retry(self) -> None:
        """It comes back with the same call, and gets another sample."""
        ask = self._held()
        turn_id = await self._hang_up(ask)
        self._policy.release(ask.seed)
        answer = await self._send(ask, is_repeat=True)
        assert answer.turn_id != turn_id

    async def _twin(self) -> None:
        """The same ids, streamed and not, are one message."""
        ask = self._ask(self._continued(self._histories[-1]))
        whole = await self._call(replace(ask, options=ask.options | {"stream": False}))
        streamed = await self._send(replace(ask, options=ask.options | {"stream": True}))
        assert streamed.says() == whole.says(), (streamed, whole)

    async def _choose(self) -> None:
        """Two choices, of which one is gone on with, at once or never."""
        ask = self._ask(self._continued(self._histories[-1]), at_least=LONG_SEEDS)
        answer = await self._call(replace(ask, options=ask.options | {"n": 2}))
        self._remember(ask, answer, self._rng.randrange(2))

    async def _side(self) -> None:
        """A call that must not train: its title, its guard."""
        ask = self._ask(self._continued(self._rng.choice(self._histories)))
        answer = await self._call(replace(ask, headers={"x-turngate-turn-kind": "side"}))
        self.side_turns.add(answer.turn_id)

    async def _prefill(self) -> None:
        """The caller puts the first words into the model's mouth."""
        words = self._rng.choice(("So", "I think\n"))
        ask = self._ask(
            (*self._continued(self._histories[-1]), {"role": "assistant", "content": words})
        )
        options = ask.options | {"continue_final_message": True}
        answer = await self._call(replace(ask, options=options))
        message = answer.messages[0]
        joined = {**message, "content": words + (message.get("content") or "")}
        self._histories.append((*ask.messages[:-1], joined))

    async def _send(self, ask: Ask, *, is_repeat: bool = False) -> Answer:
        """Call, and keep the request and the answer."""
        answer = await self._call(ask, is_repeat=is_repeat)
        self._remember(ask, answer, 0)
        return answer

    def _remember(self, ask: Ask, answer: Answer, choice: int) -> None:
        reply = echoed(answer.messages[choice], self._rng, self.did)
        self._histories.append((*ask.messages, reply))
        self._last = ask, answer

    async def _call(self, ask: Ask, *, is_repeat: bool = False) -> Answer:
        return await self._client().ask(self._body(ask), self._headers(ask, is_repeat=is_repeat))

    async def _hang_up(self, ask: Ask) -> str:
        """Leave after the first event, and wait until the engine knows."""
        turn_id = await self._client().leave(self._body(ask), self._headers(ask))
        self.left_turns.add(turn_id)
        async with asyncio.timeout(10):
            while f"{turn_id}-0-0" not in self._engine.aborted:
                await asyncio.sleep(0.001)
        return turn_id

    def _client(self) -> Client:
        return self._rng.choice(self._clients)

    def _body(self, ask: Ask) -> Message:
        tools = {"tools": [TOOL]} if self._has_tools else {}
        return {"messages": ask.messages, "seed": ask.seed, **tools, **ask.options}

    def _headers(self, ask: Ask, *, is_repeat: bool = False) -> dict[str, str]:
        """An SDK counts its repeats; some callers name theirs."""
        own = {"idempotency-key": ask.key} if ask.key else {}
        count = {"x-stainless-retry-count": "1" if is_repeat else "0"}
        return {"x-turngate-episode": self.episode_id, **count, **own, **ask.headers}

    def _ask(self, messages: tuple[Message, ...], *, at_least: int = 0) -> Ask:
        chances = {"stream": 0.5, "logprobs": 0.2, "return_token_ids": 0.3}
        options = {name: self._rng.random() < chance for name, chance in chances.items()}
        return Ask(messages, at_least + self._seed(), options=options)

    def _keyed(self, ask: Ask, *, by_body: bool = True) -> Ask:
        is_named = not by_body or self._rng.random() < 0.5
        return replace(ask, key=f"key-{ask.seed}" if is_named else "")

    def _held(self) -> Ask:
        ask = self._ask(self._continued(self._histories[-1]), at_least=HELD_SEEDS)
        return self._keyed(replace(ask, options=ask.options | {"stream": True}))

    def _seed(self) -> int:
        return self._rng.randrange(LONG_SEEDS)

    def _user(self) -> Message:
        return {"role": "user", "content": self._rng.choice(TEXTS)}

    def _continued(self, history: tuple[Message, ...]) -> tuple[Message, ...]:
        """With what follows a reply: the results of its calls, or the user again."""
        calls = history[-1].get("tool_calls") or ()
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({"price": n})}
            for n, call in enumerate(calls)
        ]
        return (*history, *(results or [self._user()]))
