"""Replies on one stream: which command each is for, however they come."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from rollout.errors import StoreUnavailable
from rollout.store.pipeline.command import Command
from rollout.store.pipeline.pipelined_stream import PipelinedStream
from tests.profiles import examples
from tests.rollout.store.pipeline.scripted_redis import bulk

VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


class Losses:
    """A sender that notes what it lost."""

    def __init__(self) -> None:
        self.lost_commands: list[Command] = []
        self.errors: list[StoreUnavailable] = []
        self.happened = asyncio.Event()

    def can_send(self) -> None:
        pass

    def lost(self, commands: Sequence[Command], error: StoreUnavailable) -> None:
        self.lost_commands += commands
        self.errors.append(error)
        self.happened.set()


@asynccontextmanager
async def stream_to(sender: Losses) -> AsyncIterator[tuple[PipelinedStream, socket.socket]]:
    """A stream, and the other end of its socket."""
    here, there = socket.socketpair()
    _, writer = await asyncio.open_unix_connection(sock=here)
    stream = PipelinedStream(writer, sender)
    with there:
        yield stream, there
        stream.close()


def encoded(value: object) -> bytes:
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case bytes():
            return bulk(value)
        case list():
            return b"*%d\r\n%b" % (len(value), b"".join(map(encoded, value)))
    raise TypeError(value)


def commands(number: int) -> list[Command]:
    loop = asyncio.get_running_loop()
    return [Command(b"command", loop.create_future(), 0) for _ in range(number)]


@given(data=st.data(), values=st.lists(VALUES, min_size=1, max_size=6))
@examples(1)
def test_each_reply_is_its_own_commands(data: st.DataObject, values: list[object]) -> None:
    """Wherever the bytes are cut, and whoever left before the reply came, the others get their own replies."""
    replies = b"".join(map(encoded, values))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(replies) - 1), max_size=8)))
    gone = data.draw(st.sets(st.sampled_from(range(len(values)))))

    async def receive() -> list[object]:
        async with stream_to(Losses()) as (stream, _):
            sent = commands(len(values))
            stream.send(sent)
            for number in gone:
                sent[number].reply.cancel()
            for start, end in zip([0, *cuts], [*cuts, len(replies)], strict=True):
                stream.data_received(replies[start:end])
            assert stream.oldest is None
            assert stream.num_unanswered_bytes == 0
            return [each.reply.result() for n, each in enumerate(sent) if n not in gone]

    received = asyncio.run(receive())

    assert received == [value for n, value in enumerate(values) if n not in gone]


async def test_a_reply_may_be_cut_at_any_byte() -> None:
    """Errors, numbers, empty and missing values come whole, one byte at a time."""
    async with stream_to(Losses()) as (stream, _):
        sent = commands(4)
        stream.send(sent)
        for byte in b"-NOSCRIPT No matching script.\r\n*-1\r\n*2\r\n$0\r\n\r\n:-7\r\n+OK\r\n":
            stream.data_received(bytes([byte]))

        with pytest.raises(NoScriptError, match="No matching script"):
            await sent[0].reply
        assert [await each.reply for each in sent[1:]] == [None, [b"", -7], b"OK"]


async def test_an_error_inside_an_array_stays_there() -> None:
    """A script may answer a list of replies of which one is an error; the call has not failed."""
    async with stream_to(Losses()) as (stream, _):
        sent = commands(2)
        stream.send(sent)
        stream.data_received(b"*2\r\n:1\r\n*1\r\n-WRONGTYPE Operation\r\n-READONLY You can't\r\n")

        number, (error,) = await sent[0].reply
        assert number == 1
        assert isinstance(error, ResponseError)
        with pytest.raises(ReadOnlyError):
            await sent[1].reply


async def test_a_redis_that_loads_its_data_is_unavailable() -> None:
    """The stream stays, because the next command may already be served."""
    async with stream_to(sender := Losses()) as (stream, _):
        sent = commands(2)
        stream.send(sent)
        stream.data_received(b"-LOADING Redis is loading the dataset in memory\r\n:1\r\n")

        with pytest.raises(StoreUnavailable, match="loading its data"):
            await sent[0].reply
        assert await sent[1].reply == 1
        assert sender.errors == []


async def test_a_replica_is_left_though_the_caller_it_refused_is_gone() -> None:
    """A call that was cancelled tells as well as any other that the address leads elsewhere now."""
    async with stream_to(sender := Losses()) as (stream, _):
        sent = commands(1)
        stream.send(sent)
        sent[0].reply.cancel()
        stream.data_received(b"-READONLY You can't write against a read only replica.\r\n")

        assert not stream.is_writable
        assert "replica" in str(sender.errors[0])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "is no Redis"),
        (b":1\r\n:2\r\n:3\r\n", "without a command"),
    ],
)
async def test_an_answer_that_is_none_closes_the_stream(answer: bytes, why: str) -> None:
    """Nobody can tell for which command a later reply would be, so nothing is sent once more."""
    async with stream_to(sender := Losses()) as (stream, there):
        sent = commands(2)
        stream.send(sent)
        stream.data_received(answer)

        assert sender.lost_commands == []
        assert why in str(sender.errors[0])
        there.settimeout(5)
        assert await asyncio.to_thread(there.recv, 100) == b"commandcommand"
        assert await asyncio.to_thread(there.recv, 100) == b""
        for each in sent:
            if each.reply.exception() is not None:
                assert why in str(each.reply.exception())


async def test_a_broken_stream_gives_back_what_it_was_not_answered() -> None:
    """Its sender may send those commands again, and no others."""
    async with stream_to(sender := Losses()) as (stream, there):
        sent = commands(3)
        stream.send(sent)
        there.sendall(b":1\r\n$20\r\nhalf a reply")
        there.close()
        await asyncio.wait_for(sender.happened.wait(), 5)

        assert await sent[0].reply == 1
        assert sender.lost_commands == sent[1:]
        assert stream.oldest is None
