"""`python -m gateway.workers`: what a parent starts for each of its workers; the arguments are inherited descriptors."""

import os
import signal
import socket
import sys
from functools import partial

import uvloop

from gateway.exit_status import exit_status
from gateway.listeners import Sockets
from gateway.settings import Settings
from gateway.workers.connection_counts import ConnectionCounts
from gateway.workers.inheritance import Inheritance
from gateway.workers.worker import work
from rollout.logs import configure


def main() -> int:
    """Serve until the parent ends it; return the exit status."""
    configure(worker=os.getpid())
    # A terminal sends these to every process of its group. The parent says what follows from them.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return exit_status(partial(_serve, Inheritance.parse(sys.argv[1:])))


def _serve(given: Inheritance) -> None:
    sockets = Sockets(socket.socket(fileno=given.api), socket.socket(fileno=given.metrics))
    counts = {
        sockets.api: ConnectionCounts(given.api_counts),
        sockets.metrics: ConnectionCounts(given.metrics_counts),
    }
    parent = socket.socket(fileno=given.parent)
    working = work(Settings.load(), sockets, parent=parent, counts=counts, place=given.place)
    uvloop.run(working)


if __name__ == "__main__":
    sys.exit(main())
