"""An agent on the stock OpenAI SDK with its two retries: plays groups, rewards them, and sometimes does not.

Only what the service has acknowledged is written into the journal, and before the agent goes on.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx
import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tests.chaos.journal import AckedReward, AckedTurn, Failure, Journal

CALL_SECONDS = 60.0
GROUP_SIZE = 2
ATTEMPTS: ContextVar[list[str]] = ContextVar("attempts of the running call")
WORDS = ("pen", "shop", "price", "seven", "hello", "order")


@dataclass(frozen=True, slots=True)
class Access:
    """How an agent reaches the service."""

    base_url: str
    key: str


class LostInTheStream(Exception):
    """The connection broke after the first event; SDKs do not retry such a call."""


class Agent:
    def __init__(self, access: Access, journal: Journal, rng: random.Random) -> None:
        self._access, self._journal, self._rng = access, journal, rng
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin no further group."""
        self._stop.set()

    async def run(self) -> None:
        async with self._client(self._access.key, self._access.base_url) as client:
            while not self._stop.is_set():
                try:
                    await self._group(client)
                except openai.APIError:
                    await asyncio.sleep(self._rng.uniform(0.2, 1.0))  # written down already

    def _client(self, key: str, url: str) -> AsyncOpenAI:
        note: dict[str, Any] = {"request": [_note_request], "response": [_note_response]}
        http = DefaultAsyncHttpxClient(event_hooks=note, trust_env=False)
        return AsyncOpenAI(api_key=key, base_url=url, timeout=CALL_SECONDS, http_client=http)

    async def _group(self, client: AsyncOpenAI) -> None:
        group = f"grp_{uuid.UUID(int=self._rng.getrandbits(128)).hex}"
        async with asyncio.TaskGroup() as tasks:
            for _ in range(GROUP_SIZE):
                tasks.create_task(self._episode_or_failure(client, group))

    async def _episode_or_failure(self, client: AsyncOpenAI, group: str) -> None:
        try:
            await self._episode(client, group)
        except openai.RateLimitError:
            await asyncio.sleep(self._rng.uniform(1.0, 4.0))
        except (openai.APIError, LostInTheStream):
            self._journal.counts["episodes given up after a failure"] += 1
            await asyncio.sleep(self._rng.uniform(0.2, 1.0))

    async def _episode(self, client: AsyncOpenAI, group: str) -> None:
        body = {"group_id": group, "group_size": GROUP_SIZE, "reward_deadline_seconds": 60}
        key = uuid.UUID(int=self._rng.getrandbits(128)).hex
        opened = await self._post(client, "open", "/episodes", body, key=key)
        episode, url = str(opened["id"]), self._through(str(opened["base_url"]))
        self._journal.opened.add(episode)
        end = self._rng.choices(("reward", "delete", "abort", "give up"), weights=(84, 5, 5, 6))[0]
        async with self._client(str(opened["api_key"]), url) as agent:
            messages: list[dict[str, str]] = []
            for _ in range(self._rng.randint(1, 3)):
                messages.append({"role": "user", "content": self._rng.choice(WORDS)})
                answer = await self._turn(agent, episode, messages)
                if answer is None:
                    break
                messages.append({"role": "assistant", "content": answer})
        self._journal.counts[f"episodes: {end}"] += 1
        await self._end(client, episode, end)

    def _through(self, url: str) -> str:
        """The episode's URL at the address that this agent uses, which may be the relay's."""
        return self._access.base_url.removesuffix("/v1") + "/e/" + url.partition("/e/")[2]

    async def _turn(
        self, agent: AsyncOpenAI, episode: str, messages: list[dict[str, str]]
    ) -> str | None:
        """The answer's text; None if the agent left in mid-turn."""
        call: dict[str, Any] = {
            "model": "policy",
            "messages": list(messages),
            "max_tokens": 24,
            "extra_body": {"return_token_ids": True},
        }
        how = self._rng.choices(("whole", "stream", "leave"), weights=(65, 28, 7))[0]
        if how == "whole":
            return await self._whole(agent, episode, call)
        return await self._streamed(agent, episode, call, leaves=how == "leave")

    async def _whole(self, agent: AsyncOpenAI, episode: str, call: dict[str, Any]) -> str:
        async with self._noting("turn"):
            raw = await agent.chat.completions.with_raw_response.create(**call)
        reply = raw.parse()
        choice = reply.choices[0]
        ids = tuple((choice.model_extra or {})["token_ids"])
        self._journal.turn(AckedTurn(episode, raw.headers["x-turngate-turn"], ids))
        return choice.message.content or ""

    async def _streamed(
        self, agent: AsyncOpenAI, episode: str, call: dict[str, Any], *, leaves: bool
    ) -> str | None:
        text, ids, finished = "", [], False
        begun = time.time()
        async with self._noting("stream"):
            raw = await agent.chat.completions.with_raw_response.create(**call, stream=True)
        try:
            stream = raw.parse()
            async with stream:
                async for chunk in stream:
                    if leaves and text:
                        self._journal.counts["streams left"] += 1
                        return None
                    for choice in chunk.choices:
                        text += choice.delta.content or ""
                        ids += (choice.model_extra or {}).get("token_ids") or []
                        finished = finished or choice.finish_reason is not None
        except Exception as error:
            self._failed("stream, after its first event", error, begun)
            raise LostInTheStream from error
        if not finished:
            self._failed("stream, after its first event", EOFError("ended early"), begun)
            raise LostInTheStream
        self._journal.turn(AckedTurn(episode, raw.headers["x-turngate-turn"], tuple(ids)))
        return text

    async def _end(self, client: AsyncOpenAI, episode: str, end: str) -> None:
        path = f"/episodes/{episode}"
        match end:
            case "reward":
                for name, last in (("part", False), ("", True)):
                    await self._reward(client, episode, name, completes=last)
            case "delete":
                self._journal.deleted.add(episode)
                async with self._noting("delete"):
                    await client.delete(path, cast_to=object)
            case "abort":
                await self._post(client, "complete", f"{path}/complete", {"status": "aborted"})
            case "give up":
                pass

    async def _reward(
        self, client: AsyncOpenAI, episode: str, name: str, *, completes: bool
    ) -> None:
        value = round(self._rng.uniform(-1, 1), 6)
        key = f"{episode}-{name}"
        body: dict[str, Any] = {"value": value, "idempotency_key": key}
        body |= {"complete": True} if completes else {}
        body |= {"name": name} if name else {}
        answer = await self._post(client, "reward", f"/episodes/{episode}/rewards", body)
        named, rewarded = str(answer["name"]), float(answer["value"])
        self._journal.reward(AckedReward(episode, named, rewarded, key))

    async def _post(
        self, client: AsyncOpenAI, call: str, path: str, body: dict[str, Any], *, key: str = ""
    ) -> dict[str, Any]:
        headers = {"headers": {"Idempotency-Key": key}} if key else {}
        async with self._noting(call):
            answer: Any = await client.post(path, body=body, options=headers, cast_to=object)
        assert isinstance(answer, dict)
        return answer

    @asynccontextmanager
    async def _noting(self, call: str) -> AsyncIterator[None]:
        begun = time.time()
        ATTEMPTS.set([])
        try:
            yield
        except openai.RateLimitError:
            self._journal.counts[f"told to wait: {call}"] += 1
            raise
        except openai.APIError as error:
            self._failed(call, error, begun)
            raise

    def _failed(self, call: str, error: Exception, begun: float) -> None:
        cause, headers = type(error).__name__, {}
        if isinstance(error, openai.APIStatusError):
            cause, headers = f"{error.status_code} {error.code}", dict(error.response.headers)
        has = "retry-after" in headers
        text = f"{error!r} {error.__cause__!r}"[:400]
        attempts = tuple(ATTEMPTS.get())
        self._journal.failures.append(Failure(call, cause, attempts, begun, time.time(), has, text))


async def _note_request(request: httpx.Request) -> None:
    ATTEMPTS.get().append("no answer")


async def _note_response(response: httpx.Response) -> None:
    ATTEMPTS.get()[-1] = str(response.status_code)
