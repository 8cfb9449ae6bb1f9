"""Tools and the choice between them, as templates and grammars read them."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from threading import Lock
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.fields import NULL, refusing
from gateway.dialects.bodies.limits import MAX_TOOL_BYTES, MAX_TOOLS, check_bytes
from gateway.errors import BadRequest
from gateway.request.request import ToolChoice
from gateway.request.tools import Tool

_tools_decoder = msgspec.json.Decoder(
    Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None
)


MAX_REMEMBERED = 16_777_216  # bytes of JSON; as objects about four times as many
Read = TypeVar("Read")


class ToolReader(Generic[Read]):
    """Recognizes tools by their bytes; `read` makes of their objects what a dialect needs, which nobody changes."""

    def __init__(self, read: Callable[[list[dict[str, Any]]], Read]) -> None:
        self._read = read
        self._none = read([])
        self._known: dict[bytes, tuple[Read, int]] = {}
        self._num_bytes = 0
        self._changing = Lock()  # large bodies are read on a thread

    def read(self, raw: msgspec.Raw) -> Read:
        """What was made of these tools before, or is made now. Raises BadRequest."""
        if raw is NULL:
            return self._none
        digest = sha256(raw).digest()
        known = self._known.get(digest)
        if known is not None:
            return known[0]
        made = self._read(read_tools(raw))
        with self._changing:
            self._remember(digest, made, num_bytes=len(memoryview(raw)))
        return made

    def _remember(self, digest: bytes, made: Read, *, num_bytes: int) -> None:
        if digest in self._known:
            return
        self._known[digest] = made, num_bytes
        self._num_bytes += num_bytes
        while self._num_bytes > MAX_REMEMBERED:
            _, dropped = self._known.pop(next(iter(self._known)))
            self._num_bytes -= dropped


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
