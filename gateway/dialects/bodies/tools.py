"""Tools and the choice between them, as templates and grammars read them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.fields import NULL, refusing
from gateway.dialects.bodies.limits import MAX_TOOL_BYTES, MAX_TOOLS, check_bytes
from gateway.errors import BadRequest
from gateway.request.request import Tool, ToolChoice

_tools_decoder = msgspec.json.Decoder(
    Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None
)


def read_tools(raw: msgspec.Raw, field: str = "tools") -> list[dict[str, Any]]:
    """The objects in the field. Raises BadRequest."""
    if raw is NULL:
        return []
    check_bytes(raw, MAX_TOOL_BYTES, field)
    with refusing(field):
        return _tools_decoder.decode(raw) or []


def forced_choice(tools: Sequence[Tool], name: object = None) -> ToolChoice:
    """A call of some function, or of the one with this name. Raises BadRequest if there is none such."""
    names = [tool["function"]["name"] for tool in tools]  # type: ignore[index]
    if not names:
        raise BadRequest(
            "tool_choice needs tools; send some or leave it out",
            param="tool_choice",
            code="invalid_value",
        )
    if name is None:
        return ToolChoice("required")
    if name not in names:
        raise wrong_choice()
    return ToolChoice("required", str(name))


def wrong_choice() -> BadRequest:
    return BadRequest(
        "tool_choice must be none, auto, required or the function of one of the tools",
        param="tool_choice",
        code="invalid_value",
    )
