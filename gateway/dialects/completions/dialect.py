"""OpenAI's text completions, each direction in a module of its own."""

from gateway.dialects.bodies.openai_errors import error_body
from gateway.dialects.completions.parse import parse_completion
from gateway.dialects.completions.reply import ID_PREFIX, render_completion
from gateway.dialects.completions.stream import CompletionStream
from gateway.errors import ApiError
from gateway.request.request import Reply, Request
from gateway.turn.event_stream import COMMENT, EventStream


class CompletionsDialect:
    paths = ("/v1/completions",)
    id_prefix = ID_PREFIX
    keep_alive = COMMENT
    token_count = None

    def parse(self, body: bytes, *, path: str) -> Request:
        return parse_completion(body)

    def render(self, request: Request, reply: Reply) -> bytes:
        return render_completion(request, reply)

    def stream(self, request: Request, events: EventStream) -> CompletionStream:
        return CompletionStream(request, events)

    def error_body(self, error: ApiError) -> bytes:
        return error_body(error)
