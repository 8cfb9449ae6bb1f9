"""Content blocks as the text and the images that templates read."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.dialects.bodies.fields import check_length
from gateway.dialects.bodies.images import image_of_url
from gateway.dialects.bodies.limits import MAX_PARTS
from gateway.errors import BadRequest
from gateway.request.request import Image

Part = str | Image
Block = Mapping[str, Any]


def blocks_of(content: object, where: str) -> list[Block]:
    """The blocks of a content, which may be text alone. Raises BadRequest."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(block, dict) for block in content):
        check_length(content, MAX_PARTS, where)
        return content
    raise BadRequest(
        f"{where} must be a string or a list of content blocks", param=where, code="invalid_value"
    )


def parts_of(block: Block, where: str) -> list[Part]:
    """What the model reads of a block. Raises BadRequest for what it cannot read."""
    match block.get("type"):
        case "text":
            return [_text(block, "text", where)]
        case "image":
            return [_image(block.get("source"), where)]
        case "document":
            return _document(block, where)
        case "search_result":
            return [_search_result(block, where)]
        case "tool_reference":
            return [_text(block, "tool_name", where)]
    raise _unsupported(f"content blocks of type {block.get('type')}", where)


def content_of(parts: Sequence[Part]) -> object:
    """Content as templates read it: text, or a list of parts if there is an image."""
    texts: list[str] = []
    content: list[dict[str, object]] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        if texts:
            content.append({"type": "text", "text": "\n".join(texts)})
            texts = []
        content.append({"type": "image", "image": part})
    text = "\n".join(texts)
    if not content:
        return text
    return [*content, {"type": "text", "text": text}] if texts else content


def text_of(content: object, where: str) -> str:
    """The text of blocks among which no image may be. Raises BadRequest."""
    parts = [
        part
        for i, block in enumerate(blocks_of(content, where))
        for part in parts_of(block, f"{where}[{i}]")
    ]
    if not all(isinstance(part, str) for part in parts):
        raise _unsupported("images here", where)
    return "\n".join(map(str, parts))


def _text(block: Block, field: str, where: str) -> str:
    text = block.get(field)
    if not isinstance(text, str):
        raise BadRequest(
            f"{where}.{field} must be a string", param=f"{where}.{field}", code="invalid_value"
        )
    return text


def _image(source: object, where: str) -> Image:
    source = source if isinstance(source, dict) else {}
    kind, data = source.get("media_type"), source.get("data")
    if source.get("type") == "base64" and isinstance(kind, str) and isinstance(data, str):
        return image_of_url(f"data:{kind};base64,{data}", where)
    if source.get("type") == "url":
        return image_of_url(source.get("url"), where)
    raise _unsupported("images from any source but base64", f"{where}.source")


def _document(block: Block, where: str) -> list[Part]:
    """A document's text, after its title and context."""
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    head = [text for name in ("title", "context") if (text := block.get(name))]
    at = f"{where}.source"
    match source.get("type"):
        case "text":
            parts: list[Part] = [_text(source, "data", at)]
        case "content":
            inner = f"{at}.content"
            parts = [
                part
                for i, each in enumerate(blocks_of(source.get("content"), inner))
                for part in parts_of(each, f"{inner}[{i}]")
            ]
        case _:
            raise _unsupported("documents from any source but text and content", at)
    return [*map(str, head), *parts]


def _search_result(block: Block, where: str) -> str:
    head = [str(text) for name in ("title", "source") if (text := block.get(name))]
    return "\n".join([*head, text_of(block.get("content"), f"{where}.content")])


def _unsupported(what: str, where: str) -> BadRequest:
    return BadRequest(f"{where}: {what} are not supported", param=where, code="unsupported_content")
