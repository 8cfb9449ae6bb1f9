"""The process that forks one child per trial, so that a trial can be killed and its crash hurts nobody.

It is forked itself before SGLang is imported, while this is cheap and only one thread runs. Per trial it gets one end of
a socket, on which the child reads a grammar and writes a verdict. A child ends without a verdict if its time or its memory
is used up, and when the other end is closed.
"""

import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from rollout.engine.sglang.server.grammars.limits import Limits

LENGTH = struct.Struct("<I")
LAST = 19  # the priority of what runs only if nothing else wants to
LOOK_SECONDS = 0.02


def fork_parent(limits: Limits) -> socket.socket:
    """Start it; it ends when the returned socket is closed."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        with suppress(KeyboardInterrupt):
            _serve(theirs, limits)
        os._exit(0)
    theirs.close()
    return ours


def send_text(connection: socket.socket, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    connection.sendall(LENGTH.pack(len(data)) + data)


def _serve(control: socket.socket, limits: Limits) -> None:
    """The first message is the tokenizer, each later one the socket of a trial."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    import xgrammar  # noqa: PLC0415 - in this process alone

    from rollout.engine.sglang.server.grammars import trial  # noqa: PLC0415

    tokenizer = xgrammar.TokenizerInfo.deserialize_json(_receive_text(control))
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        connection = socket.socket(fileno=descriptors[0])
        if os.fork() == 0:
            control.close()
            _limit(limits)
            asked = json.loads(_receive_text(connection))
            threading.Thread(target=_watch, args=[connection, limits], daemon=True).start()
            send_text(connection, trial.verdict(tokenizer, asked["kind"], asked["text"], limits))
            os._exit(0)
        connection.close()


def _limit(limits: Limits) -> None:
    """End this process when its computing time is used up; a compiler in C++ cannot prevent it."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _watch(connection: socket.socket, limits: Limits) -> None:
    """Give way to others after a while, and end with the caller, who sends no more than the end of its socket."""
    while not select.select([connection], [], [], LOOK_SECONDS)[0]:
        if time.process_time() > limits.brief_seconds:
            os.setpriority(os.PRIO_PROCESS, os.getpid(), LAST)
            break
    with suppress(OSError):
        connection.recv(1)
    os._exit(1)


def _receive_text(connection: socket.socket) -> str:
    (length,) = LENGTH.unpack(_receive(connection, LENGTH.size))
    return _receive(connection, length).decode("utf-8", "surrogatepass")


def _receive(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        part = connection.recv(min(length - len(received), 2**20))
        if not part:
            sys.exit(0)
        received += part
    return bytes(received)
