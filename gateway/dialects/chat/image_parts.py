"""Images in content parts, read from their `data:` URLs.

Nothing is fetched: an episode records which images it saw, so their bytes have to be in the call.
"""

import hashlib
from base64 import b64decode

from gateway.errors import BadRequest
from gateway.request.request import Image

TYPE = "image_url"
IMAGE_MARK = TYPE.encode()  # in the JSON of every message that holds one


def is_image(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == TYPE


def image(part: dict[str, object], where: str) -> Image:
    """Read an image out of its `data:` URL."""
    given = part.get("image_url")
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str):
        raise _wrong(f"{where}.image_url.url is missing", where)
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise _wrong(
            f"{where}.image_url.url must be a data: URL of an image in base64; this gateway fetches nothing",
            where,
        )
    try:
        content = b64decode(data, validate=True)
    except ValueError as error:  # also of binascii
        raise _wrong(f"{where}.image_url.url is not valid base64: {error}", where) from None
    return Image(digest=hashlib.sha256(content).hexdigest(), url=url, where=where)


def _wrong(message: str, where: str) -> BadRequest:
    return BadRequest(message, param=where, code="invalid_image")
