"""Finds the caller of a request by its key. What the ledger says about keys and projects is remembered (`memory.py`), so a
call costs no round trip.

A key acts in its own project. The root key acts in every project: in the served one, or in the one that the header
X-Turngate-Project names, there as an admin key of that project.
"""

import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from pydantic import SecretStr

from gateway.access.api_keys import (
    EPISODE_PREFIX,
    SESSION_PREFIX,
    SIGNED_PREFIXES,
    Claim,
    is_genuine,
    project_salt,
    read_signed_key,
    signed_key,
)
from gateway.access.caller import ALL_SCOPES, NO_LIMITS, Caller, KeyLimits
from gateway.access.memory import MAX_ENTRIES, Changes, Memory
from gateway.errors import NotFound, Unauthenticated
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import Key, Project, key_digest

ROOT_KEY_ID = "key_admin"
PROJECT_HEADER = b"x-turngate-project"
_SIGNED_SCOPES = {
    EPISODE_PREFIX: frozenset({"infer"}),
    SESSION_PREFIX: frozenset({"infer", "reward"}),
}


class Authenticator:
    def __init__(
        self,
        ledger: Ledger,
        changes: Changes,
        *,
        root_key: SecretStr,
        project: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._root_hash = key_digest(root_key.get_secret_value())
        self._served_project = project
        self._wall_clock = wall_clock
        self._projects: Memory[Project] = Memory(changes, clock=clock)
        self._callers: Memory[Caller] = Memory(changes, clock=clock)  # by hash and by id
        # With the opener.
        self._signed_keys: OrderedDict[str, tuple[Claim, Caller, Caller]] = OrderedDict()

    async def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Find the caller in `Authorization: Bearer` or `x-api-key`, and the project in which it acts."""
        caller = await self._by_key(_presented_key(headers))
        if caller is None:
            raise Unauthenticated("this API key is not known; check it, or ask for a new one")
        if caller.expires is not None and caller.expires <= self._wall_clock():
            raise Unauthenticated("this API key has expired; ask for a new one")
        named = headers.get(PROJECT_HEADER)
        return caller if named is None else await self._in_project(caller, named.decode("latin-1"))

    async def project(self, name: str) -> Project | None:
        """A project with its settings and its secret; None if there is none of this name."""
        return await self._projects.get(name, lambda: self._ledger.find_project(name))

    async def episode_key(self, caller: Caller, episode_id: str) -> str:
        """The key of an episode that this caller opened."""
        return await self._signed_key(EPISODE_PREFIX, caller, episode_id)

    async def session_key(self, caller: Caller, session: str) -> str:
        """The key of a session that this caller opened."""
        return await self._signed_key(SESSION_PREFIX, caller, session)

    async def known_caller(self, key: str) -> Caller | None:
        """Whose key this is, if anybody's."""
        return await self._by_key(key)

    async def _signed_key(self, prefix: str, caller: Caller, subject: str) -> str:
        secret = await self._episode_secret(caller.project, caller.key_id)
        assert secret is not None, "the project of an authenticated caller exists"
        return signed_key(
            prefix, caller.project, subject=subject, opener_id=caller.key_id, secret=secret
        )

    async def _by_key(self, key: str) -> Caller | None:
        hashed = key_digest(key)
        if hmac.compare_digest(hashed, self._root_hash):
            return await self._root(self._served_project, is_root=True)
        if key.startswith(SIGNED_PREFIXES):
            return await self._by_signed_key(key, hashed)
        if (known := self._callers.current(hashed)) is not None:
            return known
        return await self._callers.get(hashed, lambda: self._look_up(self._ledger.find_key, key))

    async def _in_project(self, caller: Caller, project: str) -> Caller:
        """To a key of one project, every other is as unknown as one that does not exist."""
        if caller.project == project and not caller.is_root:
            return caller
        if not caller.is_root or await self.project(project) is None:
            raise no_project(project)
        root = await self._root(project, is_root=False)
        assert root is not None, "the project was just found"
        return root

    async def _root(self, project: str, *, is_root: bool) -> Caller | None:
        async def make() -> Caller | None:
            found = await self.project(project)
            if found is None:
                return None
            return msgspec.structs.replace(_caller(ROOT_KEY_ID, found, ALL_SCOPES), is_root=is_root)

        name = "root" if is_root else f"root in {project}"
        return await self._callers.get(name, make)

    async def _look_up(
        self, find: Callable[[str], Awaitable[Key | None]], name: str
    ) -> Caller | None:
        key = await find(name)
        project = await self.project(key.project) if key is not None else None
        if key is None or project is None:
            return None
        return msgspec.structs.replace(
            _caller(key.id, project, key.scopes),
            limits=msgspec.convert(key.limits, KeyLimits) if key.limits else NO_LIMITS,
            expires=key.expires,
        )

    async def _by_signed_key(self, key: str, hashed: str) -> Caller | None:
        """A signed key is worth what the key that opened its episode or session is worth now."""
        known = self._signed_keys.get(hashed)
        claim = known[0] if known is not None else await self._genuine_claim(key)
        if claim is None:
            return None
        opener = await self._opener(claim)
        if known is not None and known[1] is opener:
            return known[2]
        self._signed_keys.pop(hashed, None)
        if opener is None or opener.project != claim.project:
            return None
        is_session = claim.prefix == SESSION_PREFIX
        caller = msgspec.structs.replace(
            opener,
            scopes=_SIGNED_SCOPES[claim.prefix],
            episode_id=None if is_session else claim.subject,
            session=claim.subject if is_session else None,
            is_root=False,
        )
        self._signed_keys[hashed] = (claim, opener, caller)
        if len(self._signed_keys) > MAX_ENTRIES:
            self._signed_keys.popitem(last=False)
        return caller

    async def _opener(self, claim: Claim) -> Caller | None:
        if (known := self._callers.current(claim.opener_id)) is not None:
            return known
        if claim.opener_id == ROOT_KEY_ID:
            return await self._root(claim.project, is_root=False)
        return await self._callers.get(
            claim.opener_id, lambda: self._look_up(self._ledger.key, claim.opener_id)
        )

    async def _genuine_claim(self, key: str) -> Claim | None:
        claim = read_signed_key(key)
        if claim is None:
            return None
        secret = await self._episode_secret(claim.project, claim.opener_id)
        return claim if secret is not None and is_genuine(claim, secret) else None

    async def _episode_secret(self, project: str, opener_id: str) -> str | None:
        """What episode keys are signed with. A new root key ends the episode keys that the old one opened."""
        found = await self.project(project)
        if found is None:
            return None
        root = self._root_hash if opener_id == ROOT_KEY_ID else ""
        return found.episode_secret + root


def no_project(name: str) -> NotFound:
    return NotFound(
        f"no project {name[:64]}; GET /v1/projects lists those that this key may use",
        param="project",
        code="project_not_found",
    )


def _caller(key_id: str, project: Project, scopes: frozenset[str]) -> Caller:
    salt = project_salt(project.episode_secret) if project.private_prefix_cache else ""
    return Caller(key_id, project.name, scopes, trains=project.trains, cache_salt=salt)


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
