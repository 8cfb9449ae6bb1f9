"""OpenAI Responses, each direction in a module of its own."""

from gateway.dialects.bodies.openai_errors import error_body
from gateway.dialects.bodies.tools import ToolReader
from gateway.dialects.responses.items import read_items
from gateway.dialects.responses.parse import parse_responses
from gateway.dialects.responses.response import ID_PREFIX, render_response
from gateway.dialects.responses.stream import ResponsesStream
from gateway.dialects.responses.tools import read_tools
from gateway.errors import ApiError
from gateway.request.messages import MessageReader
from gateway.request.request import Reply, Request
from gateway.turn.event_stream import COMMENT, EventStream


class ResponsesDialect:
    paths = ("/v1/responses",)
    id_prefix = ID_PREFIX
    keep_alive = COMMENT
    token_count = None

    def __init__(self) -> None:
        self._reader = MessageReader(read_items)
        self._tools = ToolReader(read_tools)

    def parse(self, body: bytes, *, path: str) -> Request:
        return parse_responses(body, self._reader, self._tools)

    def render(self, request: Request, reply: Reply) -> bytes:
        return render_response(request, reply)

    def stream(self, request: Request, events: EventStream) -> ResponsesStream:
        return ResponsesStream(request, events)

    def error_body(self, error: ApiError) -> bytes:
        return error_body(error)
