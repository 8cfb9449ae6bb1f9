"""Where the processes of one stack listen; agents keep the address they have over a restart of the stack."""

from dataclasses import dataclass
from itertools import islice

from deploy.data_directory import DataDirectory, read_json, write_json
from deploy.stack import ports

PREFERRED_PORT = 8000


@dataclass(frozen=True, slots=True)
class ChosenPorts:
    gateway: int  # shared by all gateways
    gateway_metrics: tuple[int, ...]
    trainer_metrics: int
    redis: int
    engines: tuple[int, ...]


def choose_ports(
    directory: DataDirectory, *, host: str, port: int | None, gateways: int, engines: int
) -> ChosenPorts:
    """`port` is the gateways'; None takes the one of the last start, and 0 a free one."""
    gateway = _gateway_port(directory, host, port)
    free = iter(ports.free_ports(2 + gateways + engines))
    write_json(directory.stack, read_json(directory.stack) | {"port": gateway})
    return ChosenPorts(
        gateway=gateway,
        gateway_metrics=tuple(islice(free, gateways)),
        trainer_metrics=next(free),
        redis=next(free),
        engines=tuple(free),
    )


def _gateway_port(directory: DataDirectory, host: str, port: int | None) -> int:
    if port:
        ports.require_free(host, port, option="--port")
        return port
    wanted = [int(read_json(directory.stack).get("port", PREFERRED_PORT)), PREFERRED_PORT]
    if port is None:
        for candidate in wanted:
            if ports.is_free(host, candidate):
                return candidate
    return ports.free_ports(1, host)[0]
