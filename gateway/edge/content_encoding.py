"""Bodies that a client compressed: gzip and deflate are undone up to the limit of a plain body, others are 415."""

import zlib

from starlette.types import Message, Receive

from gateway.errors import BadRequest, TooLarge, UnsupportedEncoding

ANY_HEADER = 32 + zlib.MAX_WBITS  # gzip's or zlib's
NO_HEADER = -zlib.MAX_WBITS  # what some clients call deflate


def decoding(receive: Receive, encoding: bytes, *, limit: int) -> Receive:
    """Receives the decompressed body in one message. Raises UnsupportedEncoding at once."""
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return receive
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        raise UnsupportedEncoding(
            f"Content-Encoding {name.decode('latin-1')[:64]} is not understood; use gzip, deflate or none"
        )
    is_read = False

    async def receive_decoded() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        chunks = []
        while not is_read:
            message = await receive()
            if message["type"] != "http.request":
                return message
            chunks.append(message.get("body", b""))
            is_read = not message.get("more_body")
        body = decompressed(b"".join(chunks), limit=limit)
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_decoded


def decompressed(data: bytes, *, limit: int) -> bytes:
    """Raises TooLarge before more than the limit is written out, and BadRequest for what is damaged or cut."""
    try:
        return _decompressed(data, ANY_HEADER, limit)
    except zlib.error:
        pass
    try:
        return _decompressed(data, NO_HEADER, limit)
    except zlib.error as error:
        raise BadRequest(
            f"the body cannot be decompressed: {error}", code="invalid_encoding"
        ) from None


def _decompressed(data: bytes, window: int, limit: int) -> bytes:
    decoder = zlib.decompressobj(window)
    body = decoder.decompress(data, limit + 1)
    if len(body) > limit:
        raise TooLarge(f"the decompressed body is larger than {limit} bytes; send less")
    if not decoder.eof:
        raise zlib.error("it is cut off")
    return body
