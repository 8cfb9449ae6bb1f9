"""The key that every call to an engine carries, and what its refusal means: a wrong setting, and no fault of the call."""

from http import HTTPStatus

KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
WRONG_KEY = "it refuses our key; set TURNGATE_ENGINE_ADMIN_KEY to the key it was started with"


def authorization(key: str | None) -> dict[str, str]:
    """The header that carries the key, if there is one."""
    return {} if key is None else {"authorization": f"Bearer {key}"}
