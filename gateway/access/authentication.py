"""Finds the caller of a request by its key. Keys are looked up by their hash and remembered for REMEMBER_SECONDS; a deleted
key is forgotten at once by the gateway that deletes it, and by others when that time is over.

A key acts in its own project. The root key acts in every project: in the served one, or in the one that the header
X-Turngate-Project names, there as an admin key of that project.
"""

import hmac
import time
from collections.abc import Callable, Mapping

import msgspec

from gateway.access.api_keys import EPISODE_PREFIX, is_genuine, read_episode_key
from gateway.errors import Forbidden, NotFound, Unauthenticated
from rollout.errors import LedgerUnavailable
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import key_digest

REMEMBER_SECONDS = 30.0
MAX_REMEMBERED = 16_384  # episode keys come and go
ROOT_KEY_ID = "key_admin"
ALL_SCOPES = frozenset({"infer", "reward", "read", "observe", "admin"})
PROJECT_HEADER = b"x-turngate-project"
_EPISODE_SCOPES = frozenset({"infer"})


class Caller(msgspec.Struct, frozen=True):
    """An authenticated key and what it may do."""

    key_id: str
    project: str
    scopes: frozenset[str]
    episode_id: str | None = None  # an episode key is valid for this episode only
    requests_per_minute: int | None = None
    max_concurrent: int | None = None
    is_root: bool = False  # the installation's key, acting in no project in particular

    @property
    def is_unlimited(self) -> bool:
        return self.requests_per_minute is None and self.max_concurrent is None

    def require(self, *scopes: str) -> None:
        """Raise Forbidden unless the key has one of the scopes."""
        if self.scopes.isdisjoint(scopes):
            raise Forbidden(
                f"this key lacks the scope {' or '.join(scopes)}; it has "
                f"{', '.join(sorted(self.scopes)) or 'none'}"
            )


class Authenticator:
    def __init__(
        self,
        ledger: Ledger,
        *,
        admin_key: str,
        project: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._root_hash = key_digest(admin_key)
        self._root = Caller(ROOT_KEY_ID, project, ALL_SCOPES, is_root=True)
        self._clock = clock
        self._remembered: dict[str, tuple[Caller, float]] = {}
        self._secrets: dict[str, str] = {}

    async def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Find the caller in `Authorization: Bearer` or `x-api-key`, and the project in which it acts."""
        caller = await self._by_key(_presented_key(headers))
        named = headers.get(PROJECT_HEADER)
        return caller if named is None else await self._in_project(caller, named.decode("latin-1"))

    async def _in_project(self, caller: Caller, project: str) -> Caller:
        """To a key of one project, every other is as unknown as one that does not exist."""
        if caller.project == project and not caller.is_root:
            return caller
        if not caller.is_root or await self.episode_secret(project) is None:
            raise no_project(project)
        return msgspec.structs.replace(caller, project=project, is_root=False)

    async def _by_key(self, key: str) -> Caller:
        hashed = key_digest(key)
        if hmac.compare_digest(hashed, self._root_hash):
            return self._root
        remembered = self._remembered.get(hashed)
        if remembered is not None and remembered[1] > self._clock():
            return remembered[0]
        caller = await self._look_up(key, remembered)
        if caller is None:
            self._remembered.pop(hashed, None)
            raise Unauthenticated("this API key is not known; check it, or ask for a new one")
        self._remember(hashed, caller)
        return caller

    async def episode_secret(self, project: str) -> str | None:
        """What a project signs its episode keys with; None if there is no such project."""
        if project not in self._secrets:
            self._secrets.update({p.name: p.episode_secret for p in await self._ledger.projects()})
        return self._secrets.get(project)

    def forget(self, key_id: str) -> None:
        """Drop a key that was deleted."""
        gone = [h for h, (caller, _) in self._remembered.items() if caller.key_id == key_id]
        for hashed in gone:
            del self._remembered[hashed]

    def _remember(self, hashed: str, caller: Caller) -> None:
        self._remembered.pop(hashed, None)
        self._remembered[hashed] = (caller, self._clock() + REMEMBER_SECONDS)
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    async def _look_up(self, key: str, remembered: tuple[Caller, float] | None) -> Caller | None:
        """Ask the ledger; while it is down, a remembered caller stays valid."""
        try:
            if key.startswith(EPISODE_PREFIX):
                return await self._episode_caller(key)
            return await self._project_caller(key)
        except LedgerUnavailable:
            if remembered is None:
                raise
            return remembered[0]

    async def _project_caller(self, secret: str) -> Caller | None:
        key = await self._ledger.find_key(secret)
        if key is None:
            return None
        return Caller(
            key.id,
            key.project,
            key.scopes,
            requests_per_minute=key.limits.get("requests_per_minute"),
            max_concurrent=key.limits.get("max_concurrent"),
        )

    async def _episode_caller(self, key: str) -> Caller | None:
        claim = read_episode_key(key)
        secret = await self.episode_secret(claim.project) if claim is not None else None
        if claim is None or secret is None or not is_genuine(claim, secret):
            return None
        key_id = f"{EPISODE_PREFIX}{claim.episode_id}"
        return Caller(key_id, claim.project, _EPISODE_SCOPES, claim.episode_id)


def no_project(name: str) -> NotFound:
    return NotFound(
        f"no project {name[:64]}; GET /v1/projects lists those that this key may use",
        param="project",
        code="project_not_found",
    )


def _presented_key(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"authorization", b"").decode("latin-1").strip()
    scheme, _, key = given.partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    alone = headers.get(b"x-api-key", b"").decode("latin-1").strip()
    if alone:
        return alone
    raise Unauthenticated(
        "no API key: send Authorization: Bearer <key> or x-api-key", code="missing_api_key"
    )
