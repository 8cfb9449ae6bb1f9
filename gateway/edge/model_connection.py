"""A connection of the API: common model calls on it are answered without ASGI, everything else as on any connection."""

import asyncio
from typing import Any

from gateway.edge.connection import Connection
from gateway.edge.direct_call import DirectCall, common_target
from gateway.edge.edge import Edge
from gateway.errors import Unavailable


class ModelConnection(Connection):
    def __init__(self, *args: Any, edge: Edge, **options: Any) -> None:
        super().__init__(*args, **options)
        self._edge = edge
        self._call: DirectCall | None = None  # the last one
        self._is_arriving = False  # its body is not here yet

    def begin_request(self) -> None:
        call = self._common_call()
        if call is None:
            super().begin_request()
            return
        self._call, self._is_arriving = call, True
        self.cycle = call  # type: ignore[assignment]  # it has what is read of one

    def on_body(self, body: bytes) -> None:
        if self._is_arriving:
            assert self._call is not None
            self._call.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_arriving:
            self._answer()
            self.end_request()
        else:
            super().on_message_complete()

    def give_up_request(self) -> None:
        self._leave_call()
        if not self._is_direct:
            super().give_up_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_call()
        if self._is_direct:
            self.cycle = None  # type: ignore[assignment]
        super().connection_lost(exc)

    @property
    def _is_direct(self) -> bool:
        """Whether the last request needs no ASGI."""
        last: object = self.cycle
        return last is self._call

    def _common_call(self) -> DirectCall | None:
        """A call that comes after the answer to the last request."""
        parser = self.parser
        if (
            (self.cycle is not None and not self.cycle.response_complete)
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
        ):
            return None
        headers = dict(self.headers)
        limit = self._edge.body_limit.unknown_caller
        target = common_target(self._edge.endpoints, self.url, headers, limit=limit)
        if target is None:
            return None
        return DirectCall(self, target, headers, keep_alive=parser.should_keep_alive())

    def _answer(self) -> None:
        assert self._call is not None
        self._is_arriving = False
        task = self.loop.create_task(self._answered(self._call))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answered(self, call: DirectCall) -> None:
        try:
            await self._edge.observe(call, call.endpoint.answer(call))
        except asyncio.CancelledError:  # the server has waited as long as it may
            if not call.response_started:
                self.refuse(Unavailable("the gateway is stopping; call again"))
            self.transport.close()
        call.parts.clear()  # a refused body, which an idle connection would keep
        if not call.response_complete and not call.presence.has_left:
            self.transport.close()

    def _leave_call(self) -> None:
        """Nobody waits for the answer to a call; one whose body is not whole is counted as given up."""
        if self._call is None or self._call.response_complete:
            return
        self._call.presence.leave()
        if self._is_arriving:
            self._answer()
