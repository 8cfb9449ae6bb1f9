"""Images as a client sends them."""

import hashlib
import io
import struct
import zlib
from base64 import b64decode, b64encode
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
    return f"data:image/png;base64,{b64encode(stream.getvalue()).decode()}"


def claiming(width: int, height: int) -> str:
    """A small file that says it is a large picture."""
    data = bytearray(b64decode(png("red", (8, 8)).partition(",")[2]))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return f"data:image/png;base64,{b64encode(data).decode()}"


def digest(url: str) -> str:
    """What an episode knows the image by."""
    return hashlib.sha256(b64decode(url.partition(",")[2])).hexdigest()
