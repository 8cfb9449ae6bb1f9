"""From the bytes of a body to a request; a large body is read on a thread, when it is the key's turn."""

from functools import partial

from anyio import to_thread

from gateway.dialects.dialect import Dialect
from gateway.errors import BadRequest
from gateway.request.mended_body import BYTE_ORDER_MARK, mended
from gateway.request.request import Request
from gateway.turn.large_calls import LARGE_BYTES, LargeCalls


async def read_request(
    body: bytes, dialect: Dialect, path: str, *, key_id: str, turns: LargeCalls
) -> Request:
    """Raises BadRequest."""
    if len(body) < LARGE_BYTES:
        return _read(body, dialect, path)
    async with turns.turn(key_id):
        return await to_thread.run_sync(partial(_read, body, dialect, path))


def _read(body: bytes, dialect: Dialect, path: str) -> Request:
    """What is refused is read once more if its meaning is plain."""
    plain = body.removeprefix(BYTE_ORDER_MARK)
    try:
        return dialect.parse(plain, path=path)
    except BadRequest:
        again = mended(plain)
        if again is None:
            raise
    return dialect.parse(again, path=path)
