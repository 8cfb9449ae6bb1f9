"""The door for wire formats: what a dialect offers. Code that comes after it does not know the dialect of a call."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from gateway.errors import ApiError
from gateway.request.request import Reply, Request
from gateway.turn.event_stream import EventStream, KeepAlive, Sink


class ReplyStream(Sink, Protocol):
    """A streamed reply: `start`, any number of `piece`, then `finish`, or `fail` if no more can be sampled."""

    async def finish(self, reply: Reply) -> None:
        """The turn is committed: send how it ended, and end the stream."""

    async def fail(self, error: ApiError) -> None:
        """The turn failed after `start`: send the error, and end the stream."""


class TokenCount(NamedTuple):
    """A route that only counts the tokens of the prompt that a body makes: nothing is sampled or recorded."""

    path: str
    render: Callable[[int], bytes]  # the JSON body of the answer


class Dialect(Protocol):
    """One wire format. It lives as long as the gateway."""

    @property
    def paths(self) -> Sequence[str]:
        """The routes that it answers under POST. Errors on them, and on paths below them, have its body."""

    @property
    def id_prefix(self) -> str:
        """A reply's id is this and the turn's id, so that a reward can name the turn by it."""

    @property
    def keep_alive(self) -> KeepAlive | None:
        """Sent while a stream is silent; None for nothing."""

    @property
    def token_count(self) -> TokenCount | None:
        """The route that counts tokens, below one of `paths`; None for none."""

    def parse(self, body: bytes, *, path: str) -> Request:
        """Read and check a body that was sent to one of `paths`, or to that of `token_count`. Raises BadRequest."""

    def render(self, request: Request, reply: Reply) -> bytes:
        """Give the JSON body of an unstreamed reply."""

    def stream(self, request: Request, events: EventStream) -> ReplyStream:
        """Prepare a streamed reply; nothing is sent before its `start`."""

    def error_body(self, error: ApiError) -> bytes:
        """Give the JSON body of an error; status and headers are the error's own."""
