"""The two sockets of a gateway, taken before it is ready and listened on after."""

import socket
from typing import NamedTuple

from gateway.settings import Settings

BACKLOG = 2048  # connections that wait until a process takes them
# Of a reply that its client does not take; Linux would keep up to 4 MiB per connection.
SEND_BUFFER_BYTES = 262_144


class Address(NamedTuple):
    host: str
    port: int
    metrics_port: int


class Sockets(NamedTuple):
    """Where a gateway listens."""

    api: socket.socket
    metrics: socket.socket

    @classmethod
    def bind(cls, settings: Settings) -> "Sockets":
        """Take both ports. Raises OSError that names the address."""
        api = bind(settings.host, settings.port, shared=settings.share_port)
        try:
            return cls(api, bind(settings.host, settings.metrics_port))
        except OSError:
            api.close()
            raise

    @property
    def address(self) -> Address:
        host, port = self.api.getsockname()[:2]
        return Address(host, port, self.metrics.getsockname()[1])

    def close(self) -> None:
        for each in self:
            each.close()


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Take a port, alone or among others that share it. Raises OSError that names the address.

    It does not listen yet: connections to a shared port go only to those who can answer.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = f"cannot listen on {host}:{port} ({error.strerror}); stop what listens there, or choose another port"
        raise OSError(why) from error
    return listener
