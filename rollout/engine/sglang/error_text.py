"""The sentence in the body of an engine's error, which SGLang wraps in one of two ways."""

from contextlib import suppress

import msgspec


def error_text(body: bytes) -> str:
    """The body's own beginning if it is wrapped in neither."""
    with suppress(msgspec.DecodeError):
        match msgspec.json.decode(body):
            case {"error": {"message": str(message)}} | {"error": str(message)}:
                return message
    return body[:200].decode(errors="replace")
