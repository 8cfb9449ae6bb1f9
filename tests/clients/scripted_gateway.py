"""A server that speaks the few routes an agent and its harness use, from a script, and keeps what it was asked.

Used where faults, refusals or exact replies are the point; the real gateway is used everywhere else.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ScriptedGateway:
    answer: Callable[[Asked], Reply | None]
    """None closes the connection without a word."""
    root: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections[task] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._answer_one(reader, writer):
                pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split()
        headers = {
            name.lower(): value
            for name, value in (line.split(": ", 1) for line in head[1:] if line)
        }
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, json.loads(content) if content else None)
        self.asked.append(asked)
        reply = self.answer(asked)
        if reply is None:
            return False
        body = json.dumps(reply.body).encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        start = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        writer.write(
            f"{start}content-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return True


@asynccontextmanager
async def scripted_gateway(
    answer: Callable[[Asked], Reply | None],
) -> AsyncIterator[ScriptedGateway]:
    gateway = ScriptedGateway(answer)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    gateway.root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield gateway
    finally:
        server.close()
        for writer in gateway.connections.values():
            writer.close()
        await asyncio.gather(*gateway.connections)


def completion(
    message: dict[str, Any], tokens: int = 6, headers: dict[str, str] | None = None
) -> Reply:
    """A chat completion in OpenAI's shape."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    body = {
        "id": "chatcmpl-turn_1",
        "object": "chat.completion",
        "created": 1,
        "model": "policy",
        "choices": [choice],
        "usage": usage,
    }
    return Reply(body, headers=headers or {})


def tool_call(name: str, **arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "content": None,
        "tool_calls": [{"id": f"call_{name}", "type": "function", "function": function}],
    }
