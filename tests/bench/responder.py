"""An engine that costs nothing: answers SGLang's `/generate` with a fixed reply as fast as Python can.

Run as `python -m tests.bench.responder PORT OUTPUT_TOKENS VOCABULARY`; it serves one model's worth of routes that the
gateway asks for. It is the other side of the bench, never of a test: nothing is sampled here.
"""

import asyncio
import sys
from typing import cast

import httptools
import orjson
import uvloop

FIRST_ID = 300  # past the byte alphabet and the special tokens of the bench's tokenizer


class Replies:
    """The bytes of every reply, made once."""

    def __init__(self, num_tokens: int, vocabulary: int) -> None:
        ids = [FIRST_ID + (7919 * place) % (vocabulary - FIRST_ID) for place in range(num_tokens)]
        logprobs = [
            [-0.0625 * (place % 31) - 0.01171875, token, None] for place, token in enumerate(ids)
        ]
        self.whole = reply(orjson.dumps(event(ids, logprobs, finished=True)))
        events = [
            b"data: "
            + orjson.dumps(event(ids[i : i + 1], logprobs[i : i + 1], finished=False, done=i + 1))
            for i in range(num_tokens - 1)
        ]
        events.append(
            b"data: " + orjson.dumps(event(ids[-1:], logprobs[-1:], finished=True, done=num_tokens))
        )
        self.stream_head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self.events = [chunk(line + b"\n\n") for line in [*events, b"data: [DONE]"]]
        information = {"weight_version": "0", "model_path": "bench", "is_generation": True}
        self.information = reply(orjson.dumps(information))


def event(
    ids: list[int], logprobs: list[list[object]], *, finished: bool, done: int | None = None
) -> dict[str, object]:
    total = done or len(ids)
    meta: dict[str, object] = {
        "id": "bench",
        "finish_reason": {"type": "length", "length": total} if finished else None,
        "prompt_tokens": 155,
        "completion_tokens": total,
        "cached_tokens": 0,
        "weight_version": "0",
        "output_token_logprobs": logprobs,
    }
    if finished:
        meta["weight_versions"] = [{"version": "0", "start": 0, "end": total}]
    return {"text": "", "output_ids": ids, "meta_info": meta}


def reply(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Responder(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, replies: Replies) -> None:
        self.replies = replies
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url, self.body = url, b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.url != b"/generate":
            self.transport.write(self.replies.information)
        elif b'"stream":true' in self.body:
            self.transport.write(self.replies.stream_head)
            self.write_events(0)
        else:
            self.transport.write(self.replies.whole)

    def write_events(self, place: int) -> None:
        """One event per loop turn, so that the gateway sees them apart as it would from an engine."""
        if self.transport.is_closing():
            return
        if place == len(self.replies.events):
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(self.replies.events[place])
        asyncio.get_running_loop().call_later(0.001, self.write_events, place + 1)


async def serve(port: int, num_tokens: int, vocabulary: int) -> None:
    replies = Replies(num_tokens, vocabulary)
    server = await asyncio.get_running_loop().create_server(
        lambda: Responder(replies), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*(int(argument) for argument in sys.argv[1:4])))
