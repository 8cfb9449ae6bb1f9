"""Bodies that a client compressed: gzip, deflate and zstd are undone up to the limit of a plain body, others are 415."""

import zlib
from collections.abc import Callable, Mapping

import zstandard
from starlette.types import Message, Receive

from gateway.errors import BadRequest, TooLarge, UnsupportedEncoding

ANY_HEADER = 32 + zlib.MAX_WBITS  # gzip's or zlib's
MAX_WINDOW = 2**23  # bytes that a zstd decoder keeps, as RFC 8878 recommends
NO_HEADER = -zlib.MAX_WBITS  # what some clients call deflate


def decoding(receive: Receive, encoding: bytes, *, limit: int) -> Receive:
    """Receives the decompressed body in one message. Raises UnsupportedEncoding at once."""
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return receive
    decompress = DECOMPRESSORS.get(name)
    if decompress is None:
        raise UnsupportedEncoding(
            f"Content-Encoding {name.decode('latin-1')[:64]} is not understood; use gzip, deflate, zstd or none"
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
        body = decompress(b"".join(chunks), limit)
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_decoded


def inflated(data: bytes, limit: int) -> bytes:
    """Raises TooLarge before more than the limit is written out, and BadRequest for what is damaged or cut."""
    try:
        return _inflated(data, ANY_HEADER, limit)
    except zlib.error:
        pass
    try:
        return _inflated(data, NO_HEADER, limit)
    except zlib.error:
        raise _damaged() from None


def _inflated(data: bytes, window: int, limit: int) -> bytes:
    decoder = zlib.decompressobj(window)
    body = _bounded(decoder.decompress(data, limit + 1), limit)
    if not decoder.eof:
        raise zlib.error("it is cut off")
    return body


def unzstd(data: bytes, limit: int) -> bytes:
    """The same for zstd, of which a cut body gives its beginning."""
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    try:
        with decoder.stream_reader(data, read_across_frames=True) as reader:
            body = reader.read(limit + 1)
    except zstandard.ZstdError:
        raise _damaged() from None
    return _bounded(body, limit)


def _bounded(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise TooLarge(f"the decompressed body is larger than {limit} bytes; send less")
    return body


def _damaged() -> BadRequest:
    return BadRequest(
        "the body cannot be decompressed: it is damaged, cut off, or compressed in another way",
        code="invalid_encoding",
    )


DECOMPRESSORS: Mapping[bytes, Callable[[bytes, int], bytes]] = {
    b"gzip": inflated,
    b"x-gzip": inflated,
    b"deflate": inflated,
    b"zstd": unzstd,
}
