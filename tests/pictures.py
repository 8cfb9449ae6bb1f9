"""Images as a client sends them."""

import base64
import hashlib
import io
from typing import Any

from PIL import Image


def looking(url: str, text: str) -> Any:
    """A user's message about an image."""
    image = {"type": "image_url", "image_url": {"url": url}}
    return {"role": "user", "content": [image, {"type": "text", "text": text}]}


def png(color: str, size: tuple[int, int]) -> str:
    """A picture of one color as a data: URL."""
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def digest(url: str) -> str:
    """What an episode knows the image by."""
    return hashlib.sha256(base64.b64decode(url.partition(",")[2])).hexdigest()
