"""The three kinds of agents: a function that blocks, a coroutine function, and a command.

A function gets the episode and the row. It returns an answer to be graded, or the reward itself, or nothing if it posted its
reward. A command gets the row as JSON on its standard input and the question in place of `{question}`; its standard output is the
answer.
"""

import asyncio
import inspect
import json
import os
import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from turngate.datasets.row import Row
from turngate.episode import AsyncEpisode, Episode
from turngate.errors import AgentInvalid
from turngate.graders.grader import GradedAgent, Grader
from turngate.own_loop import in_thread

Returned = str | float | None
Agent = (
    Callable[[Episode, Row], Returned]
    | Callable[[AsyncEpisode, Row], Awaitable[Returned]]
    | GradedAgent[Episode, Any]
    | GradedAgent[AsyncEpisode, Any]
    | Sequence[str]
    | str
)
ERROR_SHOWN = 2000


class CommandFailed(Exception):
    """The command of an agent exited with an error; the message is the end of what it said."""


class Player:
    """Plays an agent of any kind."""

    def __init__(self, agent: Agent, grader: Grader | None) -> None:
        self.grader = grader
        self._agent: Any = agent
        if isinstance(agent, GradedAgent):
            self.grader = grader or agent.grader
            self._agent = agent.agent
        if isinstance(self._agent, str):
            self._agent = shlex.split(self._agent)
        if not callable(self._agent) and not _is_command(self._agent):
            raise AgentInvalid(
                f"an agent is a function of an episode and a row, or a command, not {self._agent!r:.80}"
            )

    async def play(
        self, episode: AsyncEpisode, blocking: Callable[[], Episode], row: Row
    ) -> Returned:
        """What the agent returns. `blocking` gives the same episode with blocking operations."""
        if not callable(self._agent):
            return await _run(self._agent, episode, row)
        if inspect.iscoroutinefunction(self._agent) or inspect.iscoroutinefunction(
            getattr(self._agent, "__call__", None)  # noqa: B004 - an object with an async __call__
        ):
            returned = await self._agent(episode, row)
        else:
            same = blocking()
            returned = await in_thread(self._agent, same, row)
            episode.reward_value = same.reward_value
        if returned is not None and not isinstance(returned, str | int | float):
            raise AgentInvalid(
                f"the agent returned {returned!r:.80}; return an answer (text), a reward (a number) or nothing"
            )
        return returned


def _is_command(agent: object) -> bool:
    return (
        isinstance(agent, list | tuple) and bool(agent) and all(isinstance(w, str) for w in agent)
    )


async def _run(command: Sequence[str], episode: AsyncEpisode, row: Row) -> str:
    words = [word.replace("{question}", row.question) for word in command]
    process = await asyncio.create_subprocess_exec(
        *words,
        env=episode.env(os.environ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    given = {**row.fields, "id": row.id, "question": row.question}
    try:
        out, err = await process.communicate(json.dumps(given).encode())
    except BaseException:
        os.killpg(process.pid, 9)  # its children too
        await process.wait()
        raise
    if process.returncode != 0:
        said = err.decode(errors="replace")[-ERROR_SHOWN:].strip()
        raise CommandFailed(f"exit code {process.returncode}: {said}")
    return out.decode(errors="replace").strip()
