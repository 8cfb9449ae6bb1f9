"""Anthropic Messages, each direction in a module of its own."""

import orjson

from gateway.dialects.bodies.tools import ToolReader
from gateway.dialects.dialect import TokenCount
from gateway.dialects.messages.errors import error_body
from gateway.dialects.messages.messages import read_item
from gateway.dialects.messages.parse import parse_messages, parse_prompt
from gateway.dialects.messages.reply import ID_PREFIX, render_message
from gateway.dialects.messages.stream import PING, MessageStream
from gateway.dialects.messages.tools import custom_tools
from gateway.errors import ApiError
from gateway.request.messages import MessageReader
from gateway.request.request import Reply, Request
from gateway.turn.event_stream import EventStream, KeepAlive


class MessagesDialect:
    paths = ("/v1/messages",)
    id_prefix = ID_PREFIX
    keep_alive = KeepAlive(PING)

    def __init__(self) -> None:
        self._reader = MessageReader(read_item)
        self._tools = ToolReader(custom_tools)
        self.token_count = TokenCount("/v1/messages/count_tokens", _count)

    def parse(self, body: bytes, *, path: str) -> Request:
        read = parse_prompt if path == self.token_count.path else parse_messages
        return read(body, self._reader, self._tools)

    def render(self, request: Request, reply: Reply) -> bytes:
        return render_message(request, reply)

    def stream(self, request: Request, events: EventStream) -> MessageStream:
        return MessageStream(request, events)

    def error_body(self, error: ApiError) -> bytes:
        return error_body(error)


def _count(num_tokens: int) -> bytes:
    return orjson.dumps({"input_tokens": num_tokens})
