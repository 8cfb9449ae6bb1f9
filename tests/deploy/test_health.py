"""Whether a process answers, asked where it listens."""

import asyncio
import socket

import pytest

from deploy.stack.health import answers_http


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"])
async def test_a_refusal_is_an_answer_at_every_address(host: str) -> None:
    """A gateway that listens on another address than loopback is not taken for one that hangs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = await asyncio.start_server(refuse, host, 0, family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    async with server:
        assert await answers_http(host, server.sockets[0].getsockname()[1], "/healthz")


async def test_nobody_answers_where_nobody_listens() -> None:
    """A closed port is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert not await answers_http("127.0.0.1", port, "/healthz")
