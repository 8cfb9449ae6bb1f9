"""What it means when Redis refuses a command: it is unavailable, for a reason that a caller may read.

Redis's own words hold the digest and the lines of our scripts, so they are logged and not answered.
"""

import re

from redis import exceptions

from rollout.errors import StoreUnavailable

# The first word of the error, also where a script passes it on. The script's first write was refused, so it changed nothing.
WHY = {
    "BUSY": "another script keeps it busy",
    "CLUSTERDOWN": "its cluster is down",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "it is a replica whose master does not answer",
    "MISCONF": "it cannot write to its disk",
    "NOAUTH": "it wants a password; check TURNGATE_REDIS_URL",
    "NOPERM": "its user lacks a permission; check TURNGATE_REDIS_URL",
    "NOSCRIPT": "it was started again",
    "NOREPLICAS": "too few of its replicas answer",
    "OOM": "its memory is full",
    "READONLY": "it is a read-only replica",
    "TRYAGAIN": "its cluster is being changed",
    "UNKILLABLE": "another script keeps it busy",
    "WRONGPASS": "it refuses the password; check TURNGATE_REDIS_URL",
}
READ_ONLY = "READONLY You can't write"  # also where a script passes it on
WORDS = re.compile(rf"(?:^|[\s\-:])({'|'.join(WHY)})(?=\s|$)")
# redis-py removes the word from the text of some errors, and raises them as these instead.
KINDS: tuple[tuple[type[exceptions.RedisError], str], ...] = (
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.AskError, "TRYAGAIN"),  # the slot is being moved
)


def why_unavailable(error: Exception) -> str | None:
    """Why Redis does not serve now; None if the error is another one."""
    for kind, word in KINDS:
        if isinstance(error, kind):
            return WHY[word]
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return str(error) or "the connection is lost"
    found = WORDS.search(str(error))
    return WHY[found[1]] if found else None


def is_read_only(error: Exception) -> bool:
    """Whether the server is a replica, as after a failover of which the address does not tell yet."""
    return isinstance(error, exceptions.ReadOnlyError) or READ_ONLY in str(error)


def as_unavailable(error: Exception) -> StoreUnavailable:
    """The same error for a caller of the store."""
    return StoreUnavailable(why_unavailable(error) or str(error))
