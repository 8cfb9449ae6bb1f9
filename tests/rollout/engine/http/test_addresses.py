"""Servers behind TLS, on IPv6, behind names, and those that never finish a handshake."""

import asyncio
import ssl
from pathlib import Path

import pytest

from rollout.engine.factory import EngineFactory
from rollout.engine.http.address import Address
from rollout.engine.http.client import HttpClient
from rollout.settings import SettingsError
from tests.certificates import certificate
from tests.rollout.engine.http.raw_server import Peer, echoes, serving

SECONDS = 5.0
LARGE = bytes(2**20)


async def asked(url: str, body: bytes = b"{}", *, connect_seconds: float = SECONDS) -> bytes:
    client = HttpClient(url, headers={}, connect_seconds=connect_seconds)
    try:
        _, first = await client.ask("/generate", body, seconds=SECONDS)
        _, second = await client.ask("/generate", body, seconds=SECONDS)
    finally:
        await client.close()
    assert first == second
    return first


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server at 127.0.0.1 whose certificate this process trusts."""
    file = certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


async def test_a_server_behind_tls_is_called_over_kept_connections(tls: ssl.SSLContext) -> None:
    """Large bodies go through as well."""
    async with serving(echoes, tls=tls) as server:
        assert await asked(server.url, LARGE) == LARGE

    assert len(server.peers) == 1


async def test_a_certificate_of_another_name_is_refused(tls: ssl.SSLContext) -> None:
    """The error names the address and the reason."""
    async with serving(echoes, tls=tls) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(ConnectionError, match=r"localhost:.*certificate"):
            await asked(url)


async def test_a_handshake_that_does_not_end_has_the_deadline_of_connecting() -> None:
    """The server accepts the connection and says nothing. It is no late answer, because no call was sent."""
    left = asyncio.Event()

    async def says_nothing(peer: Peer) -> None:
        await peer.has_left()
        left.set()

    async with serving(says_nothing) as server:
        with pytest.raises(ConnectionError, match=r"cannot connect to .* within 0\.05 s"):
            await asked(server.url.replace("http:", "https:"), connect_seconds=0.05)
        await asyncio.wait_for(left.wait(), SECONDS)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_addresses_of_both_kinds_are_called(host: str) -> None:
    """One of IPv6 stands in brackets."""
    async with serving(echoes, host=host) as server:
        assert await asked(server.url, b"by address") == b"by address"


async def test_a_name_is_looked_up() -> None:
    """`localhost` may have an address on which the server does not listen."""
    async with serving(echoes) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert await asked(url, b"by name") == b"by name"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64])
async def test_a_name_that_nobody_has_is_named(host: str) -> None:
    """Unknown or impossible, it is a failure to connect."""
    with pytest.raises(ConnectionError, match="cannot connect to"):
        await asked(f"http://{host}:1")


def test_an_address_is_read_from_a_url() -> None:
    """With the port of its scheme if it names none."""
    read = Address.parse("https://[::1]/v2/")

    assert (read.host, read.port, read.is_tls) == ("::1", 443, True)
    assert (read.authority, read.path) == ("[::1]", "/v2")


@pytest.mark.parametrize("url", ["127.0.0.1:30000", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    """When the engine is opened, not when it is called."""
    with pytest.raises(ValueError, match="is no http"):
        Address.parse(url)


def test_a_wrong_url_of_an_engine_is_a_wrong_setting() -> None:
    """The process that starts with it says which."""
    with pytest.raises(SettingsError, match=r"TURNGATE_ENGINES: http://:30000 is no http"):
        EngineFactory().open("http://:30000")
