"""The Responses dialect as server-sent events: each has its type as its name, and numbers that rise.

The last event waits for the commit: a client that has seen `response.completed` has a recorded turn. A turn that fails ends
with `error`, which SDKs raise, and `response.failed`.
"""

from collections.abc import Iterable

import orjson

from gateway.dialects.responses.output import Output
from gateway.dialects.responses.output_items import Event
from gateway.dialects.responses.response import asked_of, begun, ended, failed, is_cut
from gateway.errors import ApiError
from gateway.request.request import Reply, ReplyHead, Request
from gateway.turn.event_stream import EventStream
from gateway.turn.output_builder import Piece


class ResponsesStream:
    """One streamed response; its events fold to the unstreamed body."""

    def __init__(self, request: Request, events: EventStream) -> None:
        self._asked = asked_of(request)
        self._events = events
        self._head: ReplyHead | None = None
        self._output: Output | None = None
        self._num_sent = 0

    async def start(self, head: ReplyHead) -> None:
        self._head, self._output = head, Output(head.turn_id, self._asked)
        response = begun(self._asked, head)
        first: list[Event] = [
            {"type": f"response.{kind}", "response": response}
            for kind in ("created", "in_progress")
        ]
        await self._events.start(head, self._encoded(first))

    async def piece(self, piece: Piece) -> None:
        assert self._output is not None
        if data := self._encoded(self._output.add(piece)):
            await self._events.send(data)

    async def finish(self, reply: Reply) -> None:
        """Close the last item, and say how the response ended."""
        assert self._output is not None
        rest = list(self._output.end(is_cut=is_cut(reply)))
        response = ended(self._asked, reply, self._output)
        last: Event = {"type": f"response.{response['status']}", "response": response}
        await self._events.end(self._encoded([*rest, last]))

    async def fail(self, error: ApiError) -> None:
        """Send the error in the two forms that clients look for; a stream without a first event has no response."""
        said = {"code": error.code, "message": error.message, "param": error.param}
        last: list[Event] = [{"type": "error", **said, "error": {"type": error.type, **said}}]
        if self._head is not None and self._output is not None:
            response = failed(self._asked, self._head, self._output, error)
            last.append({"type": "response.failed", "response": response})
        await self._events.end(self._encoded(last))

    def _encoded(self, events: Iterable[Event]) -> bytes:
        return b"".join(map(self._event, events))

    def _event(self, event: Event) -> bytes:
        numbered = event | {"sequence_number": self._num_sent}
        self._num_sent += 1
        return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(numbered))
