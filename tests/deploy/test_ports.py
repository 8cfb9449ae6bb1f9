"""Ports: which are free, and the error when one is not."""

import socket

import pytest

from deploy.errors import PortInUse
from deploy.stack import ports


def test_a_port_in_use_is_named_with_its_remedy() -> None:
    """The message names the address, and the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert not ports.is_free("127.0.0.1", port)
        with pytest.raises(PortInUse, match=rf"127\.0\.0\.1:{port}.*--port"):
            ports.require_free("127.0.0.1", port, option="--port")


def test_free_ports_are_distinct_and_can_be_listened_on() -> None:
    """Ten processes started at once get ten ports."""
    found = ports.free_ports(10)

    assert len(set(found)) == 10
    assert all(ports.is_free("127.0.0.1", port) for port in found)
