"""Builds records from JSON, by their annotations.

A gateway may be newer than the client: fields that a record does not have are ignored. It may be older: a missing field gets
its default.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from turngate.errors import UnexpectedReply

T = TypeVar("T")


def decode(kind: type[T], content: object) -> T:
    """Raises UnexpectedReply if a field is missing or of another kind."""
    try:
        record: T = _convert(kind, content)
    except (TypeError, ValueError, KeyError) as error:
        raise UnexpectedReply(
            f"the gateway's answer is no {kind.__name__}: {error}; "
            "run `pip install --upgrade turngate-client`"
        ) from error
    return record


def decode_list(kind: type[T], content: Mapping[str, object]) -> list[T]:
    """The records of a list object."""
    data = content.get("data")
    if not isinstance(data, list):
        raise UnexpectedReply(f"the gateway's answer holds no list of {kind.__name__}")
    return [decode(kind, each) for each in data]


def _convert(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
        return _convert(kind, value)
    if origin is list:
        return [_convert(get_args(kind)[0], each) for each in value]
    if origin is dict:
        return {name: _convert(get_args(kind)[1], each) for name, each in value.items()}
    if is_dataclass(kind):
        build: Any = kind
        return build(**{name: _convert(hint, value[name]) for name, hint in _given(kind, value)})
    return _plain(kind, value)


def _given(kind: Any, value: Mapping[str, object]) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r:.80} is not an object")
    required = [
        (name, hint) for name, hint, has_default in _hints(kind) if name in value or not has_default
    ]
    missing = [name for name, _ in required if name not in value]
    if missing:
        raise KeyError(f"{', '.join(missing)} is missing")
    return required


@cache
def _hints(kind: Any) -> list[tuple[str, Any, bool]]:
    hints = get_type_hints(kind)
    return [
        (
            each.name,
            hints[each.name],
            each.default is not MISSING or each.default_factory is not MISSING,
        )
        for each in fields(kind)
    ]


def _plain(kind: Any, value: Any) -> Any:
    if kind is object:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} is not {kind.__name__}")
    return value
