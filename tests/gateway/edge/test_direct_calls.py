"""Common model calls skip ASGI, uncommon ones do not: a client cannot tell which way its call went."""

import asyncio
import gc
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually
from tests.gateway.edge.bystander import CHAT, SMALL
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.scripted_engine import Garbage, Refuse, ScriptedEngine, Step, Tokens, Wait

BODY = json.dumps(SMALL).encode()
STREAMED = json.dumps(SMALL | {"stream": True}).encode()
REFUSED = b"a body of somebody who is not known"
OF_A_TURN = {"date", "x-request-id", "x-turngate-episode", "x-turngate-turn", "content-length"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A connection on which requests are written byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        status = int(head[0].split()[1])
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers.get("content-length", 0))
            return Answer(status, headers, await self.reader.readexactly(length))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return Answer(status, headers, body)

    async def ask(self, request: bytes) -> Answer:
        self.writer.write(request)
        return await self.answer()


@asynccontextmanager
async def connected(served: Gateway) -> AsyncIterator[Client]:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(30):
            yield Client(reader, writer)
    finally:
        writer.close()


def post(
    body: bytes,
    *lines: str,
    path: str = CHAT,
    key: str = ADMIN_KEY,
    version: str = "1.1",
    length: int | None = None,
) -> bytes:
    head = [f"POST {path} HTTP/{version}", "host: x", f"authorization: Bearer {key}", *lines]
    if "transfer-encoding: chunked" not in lines:
        head.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*head, "", ""]).encode() + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def ways(body: bytes) -> dict[str, bytes]:
    """The same call in the common way and in others."""
    return {
        "common": post(body),
        "queried": post(body, path=f"{CHAT}?beta=true"),
        "chunked": post(chunked(body), "transfer-encoding: chunked"),
        "compressed": post(gzip.compress(body), "content-encoding: gzip"),
        "from a page": post(body, "origin: https://chat.example.com"),
        "misspelled": post(body, path=f"/{CHAT}/"),
    }


STEPS: dict[str, tuple[Step, ...]] = {
    "answered": (),
    "refused": (Refuse(400, "no"),),
    "broken": (Garbage(),),
}


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("body", [BODY, STREAMED, b"[]"], ids=["whole", "streamed", "wrong"])
async def test_every_way_has_the_same_answer(
    served: Gateway, scripted: ScriptedEngine, body: bytes, steps: str
) -> None:
    """Status, headers and the kind of body are those of the common way."""
    answers = {}
    scripted.default = STEPS[steps] or scripted.default
    async with connected(served) as client:
        for way, request in ways(body).items():
            answers[way] = await client.ask(request)
    common = answers["common"]
    for way, answer in answers.items():
        assert answer.status == common.status, way
        assert answer.headers.keys() == common.headers.keys(), way
        for name in common.headers.keys() - OF_A_TURN:
            assert answer.headers[name] == common.headers[name], way
        assert len(answer.body) == pytest.approx(len(common.body), abs=8), way
    counted = await served.metric("turngate_requests_total")
    assert counted == {f'{{route="{CHAT}",status="{common.status}"}}': len(answers)}


@pytest.mark.parametrize("path", [f"/e/ep#1{CHAT}", f"/e/v1{CHAT}", f"{CHAT}#1", f"{CHAT}?a#1"])
async def test_an_address_means_the_same_in_every_way(served: Gateway, path: str) -> None:
    """A fragment is no part of an id, and an episode may be named as a version."""
    async with connected(served) as client:
        common = await client.ask(post(BODY, path=path))
        other = await client.ask(post(BODY, "origin: https://chat.example.com", path=path))
    assert common.status == other.status
    assert common.headers.keys() == other.headers.keys()


async def test_no_connection_becomes_a_websocket(served: Gateway) -> None:
    """A call that asks for it is answered as if it did not, by a connection that has limits."""
    upgrade = (
        "GET /healthz HTTP/1.1",
        "host: x",
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with connected(served) as client:
        assert (await client.ask("\r\n".join([*upgrade, "", ""]).encode())).status == 200


async def test_a_body_may_wait_until_it_is_asked_for(served: Gateway) -> None:
    """`Expect: 100-continue` is answered before the body is sent."""
    async with connected(served) as client:
        client.writer.write(post(b"", "expect: 100-continue", length=len(BODY)))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(BODY)).status == 200


@pytest.mark.parametrize("request_", [post(BODY, version="1.0"), post(BODY, "connection: close")])
async def test_a_connection_for_one_call_is_closed(served: Gateway, request_: bytes) -> None:
    """HTTP/1.0 and `Connection: close` get their answer, and the end."""
    async with connected(served) as client:
        client.writer.write(request_)
        answer = await client.reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in answer


async def test_requests_sent_at_once_are_answered_in_order(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Model calls and others may be written without waiting for the answers before them."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, end_of_turn(tokenizer))
    get = (
        f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n".encode()
    )
    async with connected(served) as client:
        client.writer.write(post(BODY, path=f"/e/ep_1{CHAT}") + get + post(STREAMED) + post(BODY))
        await wait.reached.wait()
        wait.event.set()
        answers = [await client.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert answers[0].headers["x-turngate-episode"] == "ep_1"
    assert b'"object":"list"' in answers[1].body
    assert answers[2].body.endswith(b"data: [DONE]\n\n")
    assert b'"chat.completion"' in answers[3].body


async def test_a_client_that_closes_its_half_has_left(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Its call is aborted and counted as given up."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, Refuse(400, "too late"))
    async with connected(served) as client:
        client.writer.write(post(BODY))
        await wait.reached.wait()
        client.writer.write_eof()
        assert await client.reader.read() == b""
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)

    async def counted() -> dict[str, float]:
        return await served.metric("turngate_requests_total")

    assert await eventually(counted) == {f'{{route="{CHAT}",status="499"}}': 1}


async def test_who_is_not_known_sends_no_large_body(served: Gateway) -> None:
    """A wrong key is refused before a large body arrives."""
    async with connected(served) as client:
        answer = await client.ask(post(b"{", key="wrong", length=1_000_000))
    assert answer.status == 401


async def test_a_small_body_over_a_smaller_limit(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """The limit of the setting holds for bodies that skip ASGI too."""
    async with start_gateway(scripted, max_body_bytes=50) as served, connected(served) as client:
        assert (await client.ask(post(BODY))).status == 413


async def test_a_stopping_gateway_answers_who_cannot_wait(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """A running call is waited for; when the time is over it is told to come again, and nothing is left of it."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, Refuse(400, "too late"))
    async with start_gateway(scripted, shutdown_seconds=1) as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(BODY))
        await wait.reached.wait()
    head = await reader.read()
    writer.close()
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after" in head


async def test_a_call_that_is_cut_by_a_stopping_gateway_is_recorded(
    start_gateway: StartGateway, served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """What was sampled until then is there, abandoned, once the gateway has ended."""
    sampled = tokenizer.encode("so far")
    wait = Wait(asyncio.Event())
    scripted.script(Tokens(sampled), wait)
    body = json.dumps(SMALL | {"stream": True}).encode()
    async with start_gateway(scripted, project=served.project, shutdown_seconds=1) as stopping:
        host, port = stopping.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(body, "x-turngate-episode: ep_cut"))
        await reader.readuntil(b"so far")
        await wait.reached.wait()
    turns = await served.store.turns("ep_cut")
    writer.close()
    (turn,) = turns
    assert turn.outputs[0].is_abandoned
    assert list(turn.outputs[0].ids) == sampled


async def test_a_running_call_may_end_while_the_gateway_stops(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Its answer says that the connection closes."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, Tokens(tokenizer.encode("Bye.")), end_of_turn(tokenizer))
    async with start_gateway(scripted, shutdown_seconds=5) as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(BODY))
        await wait.reached.wait()
        asyncio.get_running_loop().call_later(0.3, wait.event.set)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in answer
    assert b"Bye." in answer


async def test_an_idle_connection_keeps_no_refused_body(served: Gateway) -> None:
    """Who is not known makes the gateway hold nothing between two calls."""
    before = len(held_bodies())
    async with connected(served) as client:
        assert (await client.ask(post(REFUSED, key="wrong"))).status == 401
        assert len(held_bodies()) == before


def held_bodies() -> list[bytes]:
    """The lists of parts of bodies that are alive."""
    lists = (each for each in gc.get_objects() if type(each) is list and len(each) == 1)
    return [each[0] for each in lists if isinstance(each[0], bytes) and each[0] == REFUSED]
