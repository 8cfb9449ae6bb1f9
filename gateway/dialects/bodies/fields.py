"""Reads a JSON body and the fields of it that may hold anything, whose size is checked before they are read."""

import logging
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.limits import check_bytes
from gateway.dialects.bodies.wrong_values import wrong_json, wrong_value
from gateway.errors import BadRequest

log = logging.getLogger(__name__)
T = TypeVar("T")

NULL = msgspec.Raw(b"null")
JsonObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
JsonObjects = Annotated[
    msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "object"}})
]

_object_decoder = msgspec.json.Decoder(dict[str, Any] | None)
_whole_object_decoder = msgspec.json.Decoder(dict[str, Any])


def no_field() -> msgspec.Raw:
    """The default of a field that may hold anything."""
    return NULL


def read_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Read a whole body. Raises BadRequest."""
    with refusing():
        if not body.isascii():
            body.decode()  # fields that are not read are not checked by the decoder
        return decoder.decode(body)


def read_object(raw: msgspec.Raw, max_bytes: int, where: str) -> dict[str, Any]:
    """The object in a field, empty for null. Raises BadRequest."""
    if raw is NULL:
        return {}
    check_bytes(raw, max_bytes, where)
    with refusing(where):
        return _object_decoder.decode(raw) or {}


def read_message(raw: msgspec.Raw, where: str) -> dict[str, Any]:
    """One message, whose size is the context length's business. Raises BadRequest."""
    with refusing(where):
        return _whole_object_decoder.decode(raw)


def read_value(raw: msgspec.Raw, where: str) -> object:
    """Any JSON value. Raises BadRequest."""
    with refusing(where):
        return msgspec.json.decode(raw)


class refusing:  # noqa: N801 - it reads as a verb where it is used
    """Raise BadRequest for what cannot be decoded in the block."""

    __slots__ = ("_where",)

    def __init__(self, where: str = "") -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and (refusal := _refusal(error, self._where)) is not None:
            raise refusal from None


def _refusal(error: BaseException, where: str) -> BadRequest | None:
    """What the caller is told; None for errors that are not the body's."""
    match error:
        case msgspec.ValidationError():
            return invalid_body(error, where)
        case UnicodeDecodeError():
            words = f"the body is not UTF-8: byte {error.start} is no part of a character"
        case msgspec.DecodeError():
            log.debug("body refused", extra={"reason": str(error)})
            words = wrong_json(str(error))
        case RecursionError():
            words = "the body is nested too deeply"
        case _:
            return None
    return BadRequest(words, code="invalid_json")


def invalid_body(error: msgspec.ValidationError, where: str = "") -> BadRequest:
    """Turn msgspec's message, which ends in the JSON path, into one of ours with a `param`."""
    log.debug("body refused", extra={"reason": str(error)})
    verdict, _, path = str(error).partition(" - at `$")
    text = wrong_value(verdict)
    param = where + path.rstrip("`").lstrip(".").removesuffix("[...]") or None
    return BadRequest(f"{param}: {text}" if param else text, param=param, code="invalid_value")


def check_length(items: list[Any], limit: int, where: str) -> None:
    """Raises BadRequest that names the field and its limit."""
    if len(items) > limit:
        raise BadRequest(
            f"{where}: {len(items)} are more than the {limit} that are allowed",
            param=where,
            code="value_too_large",
        )
