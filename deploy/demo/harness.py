"""Runs the agents: opens their episodes, gives each its base URL and key, and posts its reward.

The agents themselves are in `clients.examples`; only this file knows of Turngate.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import openai
from openai import AsyncOpenAI

from deploy.demo.subject import Task
from deploy.demo.traffic import Traffic

Judge = Callable[[Task, str], float]  # the reward for an answer
Note = Callable[["Played"], None]

GROUP_SIZE = 8
SIDE = {"X-Turngate-Turn-Kind": "side"}  # measured, never trained on


def honest(task: Task, answer: str) -> float:
    """The judge that gives each task's own reward."""
    return task.reward(answer)


@dataclass(frozen=True, slots=True)
class Played:
    """One finished episode, as its agent saw it."""

    reward: float
    turns: int
    output_tokens: int
    version: int
    """The policy version that gave the last reply."""


@dataclass(frozen=True, slots=True)
class Opened:
    id: str
    base_url: str
    api_key: str


class Harness:
    """`note` is called with every episode that ends with a reward."""

    def __init__(
        self, root: str, project_key: str, traffic: Traffic, *, group_size: int = GROUP_SIZE
    ) -> None:
        self._traffic = traffic
        self._group_size = group_size
        self._http = traffic.client(root, project_key)
        # A client of its own costs an agent 67 ms of CPU; a copy that shares the connections 0.08 ms.
        self._openai = AsyncOpenAI(base_url=root, api_key=project_key, http_client=self._http)
        self._never = asyncio.Event()

    async def evaluate(self, tasks: Iterable[Task], *, agents: int, note: Note) -> None:
        """Play every task once, outside training."""
        remaining = iter(tasks)
        async with asyncio.TaskGroup() as group:
            for _ in range(agents):
                group.create_task(self._evaluate(remaining, note))

    async def train(
        self, tasks: Iterator[Task], *, judge: Judge, closing: asyncio.Event, note: Note
    ) -> None:
        """Play one group after another until `closing`."""
        while not closing.is_set():
            await self._play_group(next(tasks), judge, closing, note)

    async def _evaluate(self, remaining: Iterator[Task], note: Note) -> None:
        for task in remaining:
            opened = await self._open({"task_id": task.id}, headers=SIDE, closing=self._never)
            if opened:
                await self._play(opened, task, judge=honest, note=note, headers=SIDE)

    async def _play_group(
        self, task: Task, judge: Judge, closing: asyncio.Event, note: Note
    ) -> None:
        """The first member is admitted for the whole group; the others open right after it."""
        group_id = f"grp_{uuid4().hex}"
        body = {"task_id": task.id, "group_id": group_id, "group_size": self._group_size}
        opened = await self._open(body, closing=closing)
        if opened is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._play(opened, task, judge=judge, note=note))
            for _ in range(self._group_size - 1):
                if opened := await self._open(body, closing=self._never):
                    group.create_task(self._play(opened, task, judge=judge, note=note))

    async def _play(
        self,
        opened: Opened,
        task: Task,
        *,
        judge: Judge,
        note: Note,
        headers: dict[str, str] | None = None,
    ) -> None:
        """One agent, from its base URL and key to its reward."""
        client = self._openai.with_options(
            api_key=opened.api_key, base_url=opened.base_url, default_headers=headers
        )
        try:
            attempted = await task.attempt(client)
        except openai.APIError:  # counted as failed by the traffic; the other agents continue
            await self._post(f"/v1/episodes/{opened.id}/complete", {"status": "aborted"})
            return
        reward = judge(task, attempted.answer)
        await self._post(
            "/v1/rewards", {"episode_id": opened.id, "value": reward, "complete": True}
        )
        version = self._traffic.version_of_episode.pop(opened.id)
        note(Played(reward, attempted.turns, attempted.output_tokens, version))

    async def _open(
        self,
        body: dict[str, Any],
        *,
        closing: asyncio.Event,
        headers: dict[str, str] | None = None,
    ) -> Opened | None:
        """Wait for admission as long as `retry-after` says; None if `closing` is set first."""
        while not closing.is_set():
            reply = await self._http.post("/v1/episodes", json=body, headers=headers)
            if reply.status_code != 429:
                content = reply.raise_for_status().json()
                return Opened(content["id"], content["base_url"], content["api_key"])
            with suppress(TimeoutError):
                async with asyncio.timeout(float(reply.headers["retry-after"])):
                    await closing.wait()
        return None

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        (await self._http.post(path, json=body)).raise_for_status()
