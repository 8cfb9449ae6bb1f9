"""Callers who ask an engine's server about the same grammar share one trial."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rollout.engine.sglang.server.grammars.limits import Limits
from rollout.engine.sglang.server.grammars.trial_parent import LENGTH
from rollout.engine.sglang.server.grammars.trials import Trials


class Parent:
    """The other end of the socket on which trials are asked for; it says when a trial gets its verdict."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    async def trial(self) -> socket.socket:
        """The socket of the next trial."""
        _, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, self._end, 1, 1)
        return socket.socket(fileno=descriptors[0])


@asynccontextmanager
async def trials() -> AsyncIterator[tuple[Trials, Parent]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Trials(ours, Limits()), Parent(theirs)


def answer(trial: socket.socket, verdict: str) -> None:
    trial.sendall(LENGTH.pack(len(verdict)) + verdict.encode())


async def test_one_verdict_answers_all_who_wait_and_all_who_come_later() -> None:
    """Two callers at once cost one trial, and a third costs none."""
    async with trials() as (asked, parent):
        both = [asyncio.create_task(asked.verdict("regex", "a+")) for _ in range(2)]
        with await parent.trial() as trial:
            answer(trial, "no")
            verdicts = [await each for each in both]
        assert [*verdicts, await asked.verdict("regex", "a+")] == ["no"] * 3


async def test_who_asks_just_after_the_last_has_left_gets_a_trial_of_their_own() -> None:
    """A trial that is being cancelled answers nobody, and its end does not forget the next one."""
    async with trials() as (asked, parent):
        first = asyncio.create_task(asked.verdict("regex", "a+"))
        left = await parent.trial()
        first.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(asked.verdict("regex", "a+"))
        await asyncio.wait([first])
        with left, await parent.trial() as trial:
            third = asyncio.create_task(asked.verdict("regex", "a+"))
            await asyncio.sleep(0)
            answer(trial, "")
            assert [await second, await third] == ["", ""]
