"""An engine that costs nothing: a whole reply at once, a streamed one at an engine's pace, always the same tokens.

Run as `python -m tests.bench.responder PORT OUTPUT_TOKENS VOCABULARY TOKEN_SECONDS`. It answers SGLang's `/generate`, the
routes that the gateway asks for, and the chat completions that a plain proxy passes on. It is the other side of the
bench, never of a test: nothing is sampled here.
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
        self.events = streamed(events)
        word = " word"  # about a token
        self.chat = reply(orjson.dumps(completion("message", word * num_tokens)))
        self.chat_events = streamed(
            [b"data: " + orjson.dumps(completion("delta", word)) for _ in range(num_tokens)]
        )
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


def completion(part: str, text: str) -> dict[str, object]:
    """A chat completion, or a chunk of one."""
    kind = "chat.completion" if part == "message" else "chat.completion.chunk"
    finished = "length" if part == "message" else None
    choice = {"index": 0, part: {"role": "assistant", "content": text}, "finish_reason": finished}
    usage = {"prompt_tokens": 155, "completion_tokens": 300, "total_tokens": 455}
    whole = {"usage": usage} if part == "message" else {}
    return {
        "id": "bench",
        "object": kind,
        "created": 0,
        "model": "policy",
        "choices": [choice],
    } | whole


def streamed(events: list[bytes]) -> list[bytes]:
    return [chunk(line + b"\n\n") for line in [*events, b"data: [DONE]"]]


def reply(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class Responder(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, replies: Replies, token_seconds: float) -> None:
        self.replies, self.token_seconds = replies, token_seconds
        self.loop = asyncio.get_running_loop()
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
        streams = b'"stream":true' in self.body
        if self.url == b"/generate":
            whole, events = self.replies.whole, self.replies.events
        elif self.url == b"/v1/chat/completions":
            whole, events = self.replies.chat, self.replies.chat_events
        else:
            self.transport.write(self.replies.information)
            return
        if streams:
            self.transport.write(STREAM_HEAD)
            self.wait(events, 0, self.loop.time())
        else:
            self.transport.write(whole)

    def wait(self, events: list[bytes], place: int, started: float) -> None:
        """Each event has a time of its own, so that one that is late does not delay the next."""
        due = started + (place + 1) * self.token_seconds
        self.loop.call_at(due, self.write_event, events, place, started)

    def write_event(self, events: list[bytes], place: int, started: float) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(events[place])
        if place + 1 == len(events):
            self.transport.write(b"0\r\n\r\n")
        else:
            self.wait(events, place + 1, started)


async def serve(port: int, num_tokens: int, vocabulary: int, token_seconds: float) -> None:
    replies = Replies(num_tokens, vocabulary)
    server = await asyncio.get_running_loop().create_server(
        lambda: Responder(replies, token_seconds), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    *counts, pace = sys.argv[1:5]
    uvloop.run(serve(*map(int, counts), token_seconds=float(pace)))
