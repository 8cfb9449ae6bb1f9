"""Takes connections from a listener that several processes share, so that each holds about as many as the others.

The listener is one socket, made by the parent: a connection that waits in it is lost with no process. The queues of
`SO_REUSEPORT` are each lost with theirs, which a rolling restart would show to clients.
"""

import asyncio
import logging
import select
import socket
from collections.abc import Callable

from gateway.workers.connection_counts import ConnectionCounts

PAUSE_SECONDS = 0.001  # a process with fewer connections takes the waiting one meanwhile
# Pauses in a row; then take it anyway, because the process with fewer connections may be busy.
PATIENCE = 20
BREAK_SECONDS = 1.0  # without descriptors or memory for a connection

log = logging.getLogger(__name__)


class Acceptor:
    """Of one process. It counts as one of asyncio's servers: `close`, then `wait_closed`."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        counts: ConnectionCounts,
        place: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._counts = counts
        self._place = place
        self._poll = select.poll()
        self._opening: set[asyncio.Task[object]] = set()
        self._num_uncounted = 0  # taken, and not yet told to `count`
        self._pauses = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False
        self._num_connections = 0

    def open(self) -> None:
        self._listener.setblocking(False)
        self._poll.register(self._listener, select.POLLIN)
        self._is_open = True
        self.count(0)
        self._loop.add_reader(self._listener, self._take_ours)

    def count(self, connections: int) -> None:
        """Tell the others how many this process holds, besides those that it opens now."""
        begun = max(0, connections - self._num_connections)
        self._num_uncounted = max(0, self._num_uncounted - begun)
        self._num_connections = connections
        if self._is_open:
            self._counts.hold(self._place, connections + self._num_uncounted)

    def close(self) -> None:
        """Leave what waits in the listener to the others."""
        if not self._is_open:
            return
        self._is_open = False
        self._counts.leave(self._place)
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()

    async def wait_closed(self) -> None:
        """Until the connections that were taken last have their protocols."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _take_ours(self) -> None:
        while self._counts.is_next(self._place) or self._pauses >= PATIENCE:
            self._pauses = 0
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another process was faster, or the client has left
            except OSError as error:
                log.error("cannot take a connection", extra={"error": str(error)})
                self._pause(BREAK_SECONDS)
                return
            self._begin(connection)
        self._pause(PAUSE_SECONDS)

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(self._protocol, connection)
        )
        self._opening.add(task)
        task.add_done_callback(self._has_begun)
        self._num_uncounted += 1
        self.count(self._num_connections)

    def _has_begun(self, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        self._num_uncounted = min(self._num_uncounted, len(self._opening))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("connection lost at once", extra={"error": str(error)})
        self.count(self._num_connections)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        self._loop.add_reader(self._listener, self._take_ours)
        if self._poll.poll(0):
            self._pauses += 1
            self._take_ours()
        else:
            self._pauses = 0
