"""Who calls, in which project, and what it may do."""

import msgspec

from gateway.errors import Forbidden

ALL_SCOPES = frozenset({"infer", "reward", "read", "observe", "admin"})


class KeyLimits(msgspec.Struct, frozen=True):
    """What a key may use; None is no limit. The episode keys that it opens count against it."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    max_open_episodes: int | None = None
    grammars_per_minute: int | None = None


NO_LIMITS = KeyLimits()  # compared by identity, on every call


class Caller(msgspec.Struct, frozen=True):
    """An authenticated key. The key of an episode or session has the id and the limits of the key that opened it."""

    key_id: str
    project: str
    scopes: frozenset[str]
    episode_id: str | None = None  # an episode key is valid for this episode only
    session: str | None = None  # a session's key stands for the episode that the session has now
    limits: KeyLimits = NO_LIMITS
    expires: int | None = None
    is_root: bool = False  # the installation's key, acting in no project in particular
    trains: bool = True  # whether the project's episodes may be trained on
    cache_salt: str = ""  # keeps the project's prompts apart in the engines' prefix caches

    @property
    def is_limited(self) -> bool:
        return self.limits is not NO_LIMITS

    def require(self, *scopes: str) -> None:
        """Raise Forbidden unless the key has one of the scopes."""
        if self.scopes.isdisjoint(scopes):
            raise Forbidden(
                f"this key lacks the scope {' or '.join(scopes)}; it has "
                f"{', '.join(sorted(self.scopes)) or 'none'}"
            )
