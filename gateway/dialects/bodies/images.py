"""Images in content parts, read from their `data:` URLs.

Nothing is fetched: an episode records which images it saw, so their bytes have to be in the call.
"""

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from gateway.errors import BadRequest
from gateway.request.request import Image


def openai_image(part: Mapping[str, Any], where: str) -> Image | None:
    """The image of a chat part, or of a Responses part, which holds the URL itself; None for any other part."""
    if part.get("type") not in ("image_url", "input_image"):
        return None
    given = part.get("image_url")
    return image_of_url(given.get("url") if isinstance(given, dict) else given, where)


def image_of_url(url: object, where: str) -> Image:
    """Read an image out of its `data:` URL; `where` names the part that holds it."""
    if not isinstance(url, str):
        raise _wrong(f"{where}: the URL of the image is missing", where)
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise _wrong(
            f"{where}: the image must be a data: URL in base64; this gateway fetches nothing", where
        )
    try:
        content = b64decode(data, validate=True)
    except ValueError:  # also of binascii
        raise _wrong(f"{where}: the image is not valid base64", where) from None
    return Image(digest=hashlib.sha256(content).hexdigest(), url=url, where=where)


def _wrong(message: str, where: str) -> BadRequest:
    return BadRequest(message, param=where, code="invalid_image")
