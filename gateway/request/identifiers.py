"""The one grammar of the ids that callers choose: of episodes, groups and turns, wherever they come in.

A colon is allowed, because callers join their own names with it (`run:7`); the store keeps ids apart whatever their
characters. Slashes, spaces and percent signs are not, because ids are part of URL paths.
"""

import re
from typing import Annotated

from pydantic import StringConstraints

from gateway.errors import BadRequest

PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}"

Identifier = Annotated[str, StringConstraints(pattern=f"^{PATTERN}$")]
# A task's name is text. At most the length of the ledger's column, and no control characters, which PostgreSQL refuses.
TaskId = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f]*$")]

_MATCHES = re.compile(PATTERN)


def checked_id(value: str, what: str) -> str:
    """The id, if it is one. Raises BadRequest."""
    if _MATCHES.fullmatch(value) is None:
        raise BadRequest(
            f"{what} id {value[:64]!r} is not valid: use 1 to 128 letters, digits and . _ : -",
            param=f"{what}_id",
            code=f"invalid_{what}_id",
        )
    return value
