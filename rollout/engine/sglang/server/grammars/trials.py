"""All trials of one server: several at a time, one per grammar, and each verdict once."""

import asyncio
import json
import socket
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b

from rollout.engine.sglang.server.grammars.limits import Limits
from rollout.engine.sglang.server.grammars.trial_parent import LENGTH

Verdict = str  # why the grammar is refused; empty if it is not


class Busy(Exception):
    """No verdict in time, because of other grammars; asking again later may give one."""


class Trials:
    """`parent` is the socket of the process that forks the trials."""

    def __init__(self, parent: socket.socket, limits: Limits) -> None:
        self._parent = parent
        self._limits = limits
        # Long grammars are the slow ones; others do not wait for them.
        self._short_places = asyncio.Semaphore(limits.max_short_running)
        self._long_places = asyncio.Semaphore(limits.max_long_running)
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._running: dict[bytes, _Shared] = {}

    async def verdict(self, kind: str, text: str) -> Verdict:
        """Callers who ask about the same grammar share one trial, which ends when the last of them has left."""
        if len(text) > self._limits.max_characters:
            return f"it has more than {self._limits.max_characters} characters; make it smaller"
        digest = blake2b(f"{kind} {text}".encode("utf-8", "surrogatepass"), digest_size=32).digest()
        if digest in self._known:
            self._known.move_to_end(digest)
            return self._known[digest]
        shared = self._running.get(digest)
        if shared is None or shared.is_left:
            shared = self._running[digest] = _Shared(asyncio.create_task(self._try(kind, text)))
            shared.trial.add_done_callback(lambda trial: self._remember(digest, trial))
        return await shared.wait()

    def _remember(self, digest: bytes, trial: asyncio.Task[Verdict]) -> None:
        shared = self._running.get(digest)
        if shared is not None and shared.trial is trial:
            del self._running[digest]
        if trial.cancelled() or trial.exception() is not None:
            return
        self._known[digest] = trial.result()
        if len(self._known) > self._limits.max_remembered:
            self._known.popitem(last=False)

    async def _try(self, kind: str, text: str) -> Verdict:
        is_short = len(text) <= self._limits.short_characters
        places = self._short_places if is_short else self._long_places
        try:
            async with asyncio.timeout(self._limits.wait_seconds), places:
                return await self._ask(json.dumps({"kind": kind, "text": text}).encode())
        except TimeoutError:
            raise Busy("too many grammars are being tried out; try again later") from None
        except OSError as error:
            raise Busy(f"grammars cannot be tried out ({error}); restart the engine") from error

    async def _ask(self, question: bytes) -> Verdict:
        """A child that ends without a verdict has used up its time or its memory."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._parent, [b"\0"], [theirs.fileno()])
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            # The child dies if it reads this slowly or not at all, and the answer is what says so.
            with suppress(ConnectionError):
                writer.write(LENGTH.pack(len(question)) + question)
                await writer.drain()
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                return (await reader.readexactly(length)).decode("utf-8", "replace")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
        return self._limits.too_much


class _Shared:
    """A running trial and how many wait for it."""

    def __init__(self, trial: asyncio.Task[Verdict]) -> None:
        self.trial = trial
        self._num_waiting = 0

    @property
    def is_left(self) -> bool:
        """Whether the last who waited has left, so that it is being cancelled."""
        return self.trial.cancelling() > 0

    async def wait(self) -> Verdict:
        self._num_waiting += 1
        try:
            return await asyncio.shield(self.trial)
        finally:
            self._num_waiting -= 1
            if not self._num_waiting:
                self.trial.cancel()
