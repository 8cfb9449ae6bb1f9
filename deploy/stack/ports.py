"""TCP ports on this machine: whether one is free, and some that are.

Another program can take a port between the answer and its use; the process that needs it then ends with an error.
"""

import socket
from contextlib import ExitStack

from deploy.errors import PortInUse

LOOPBACK = "127.0.0.1"


def is_free(host: str, port: int) -> bool:
    try:
        with _bound(host, port):
            return True
    except OSError:
        return False


def require_free(host: str, port: int, *, option: str) -> None:
    """Raise unless `port` can be listened on; `option` is what the user would change."""
    try:
        _bound(host, port).close()
    except OSError as error:
        raise PortInUse(
            f"cannot listen on {host}:{port} ({error.strerror}); stop what listens there, "
            f"or choose another port with {option} (0 takes a free one)"
        ) from error


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Distinct ports that were free a moment ago."""
    with ExitStack() as stack:
        return [stack.enter_context(_bound(host, 0)).getsockname()[1] for _ in range(count)]


def reachable(host: str) -> str:
    """Where a program on this machine reaches a listener on `host`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Old connections of a server that has just stopped do not make its port unusable.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
