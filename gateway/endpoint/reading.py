"""From the bytes of a body to a request; a large body is read on a thread, when it is the key's turn."""

from functools import partial

from anyio import to_thread

from gateway.dialects.dialect import Dialect
from gateway.request.request import Request
from gateway.turn.large_calls import LARGE_BYTES, LargeCalls


async def read_request(
    body: bytes, dialect: Dialect, path: str, *, key_id: str, turns: LargeCalls
) -> Request:
    """Raises BadRequest."""
    if len(body) < LARGE_BYTES:
        return dialect.parse(body, path=path)
    async with turns.turn(key_id):
        return await to_thread.run_sync(partial(dialect.parse, body, path=path))
