"""OpenAI chat completions, each direction in a module of its own."""

from gateway.dialects.bodies.openai_errors import error_body
from gateway.dialects.bodies.tools import ToolReader
from gateway.dialects.chat.echo import echo_of
from gateway.dialects.chat.messages import read_chat_message
from gateway.dialects.chat.parse import checked_tools, parse_chat
from gateway.dialects.chat.reply import ID_PREFIX, render_chat
from gateway.dialects.chat.stream import ChatStream
from gateway.errors import ApiError
from gateway.request.messages import MessageReader
from gateway.request.request import Reply, Request
from gateway.turn.event_stream import COMMENT, EventStream


class ChatDialect:
    paths = ("/v1/chat/completions",)
    id_prefix = ID_PREFIX
    keep_alive = COMMENT
    token_count = None

    def __init__(self) -> None:
        self._reader = MessageReader(read_chat_message)
        self._tools = ToolReader(checked_tools)

    def parse(self, body: bytes, *, path: str) -> Request:
        return parse_chat(body, self._reader, self._tools)

    def render(self, request: Request, reply: Reply) -> bytes:
        return render_chat(reply, echo_of(request))

    def stream(self, request: Request, events: EventStream) -> ChatStream:
        return ChatStream(request, events)

    def error_body(self, error: ApiError) -> bytes:
        return error_body(error)
