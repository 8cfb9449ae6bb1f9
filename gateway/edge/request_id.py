"""The id of a request: the client's own if it is printable, else a new one."""

import re
import secrets
from collections.abc import Mapping

_GIVEN = re.compile(rb"[\x21-\x7e]{1,128}")


def request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is not None and _GIVEN.fullmatch(given):
        return given.decode()
    return new_request_id()


def new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"
