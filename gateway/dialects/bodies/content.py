"""The content of a message: text, or parts of which some are images."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.dialects.bodies.fields import check_length
from gateway.dialects.bodies.limits import MAX_PARTS
from gateway.errors import BadRequest
from gateway.request.request import Image

SEEING_ROLES = ("user", "tool")
_TEXT_PARTS = ("text", "input_text", "output_text")

# Reads a part that is an image; None for any other.
ReadImage = Callable[[Mapping[str, Any], str], Image | None]


def read_content(content: object, role: str, where: str, *, read_image: ReadImage) -> object:
    """Content as templates read it: text, or a list of parts if there is an image. Raises BadRequest."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(
            f"{where} must be a string or a list of parts", param=where, code="invalid_value"
        )
    check_length(content, MAX_PARTS, where)
    parts = [_part(part, f"{where}[{i}]", read_image) for i, part in enumerate(content)]
    if not any(isinstance(part, Image) for part in parts):
        return "".join(map(str, parts))
    if role not in SEEING_ROLES:
        raise BadRequest(
            f"{where}: only messages of {' and '.join(SEEING_ROLES)} may hold images",
            param=where,
            code="unsupported_content",
        )
    return [
        {"type": "image", "image": part}
        if isinstance(part, Image)
        else {"type": "text", "text": part}
        for part in parts
    ]


def _part(part: object, where: str, read_image: ReadImage) -> str | Image:
    if isinstance(part, dict) and (image := read_image(part, where)) is not None:
        return image
    return part_text(part, where)


def part_text(part: object, where: str) -> str:
    """The text of a part. Raises BadRequest."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        if part.get("type", "text") in _TEXT_PARTS and isinstance(part.get("text"), str):
            return str(part["text"])
        if part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
            return str(part["refusal"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise BadRequest(
        f"{where}: content parts of type {kind} are not supported, only text",
        param=where,
        code="unsupported_content",
    )
