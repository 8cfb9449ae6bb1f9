"""API keys, each of one project. A secret is stored as its hash; a deleted key stays in the table and is never found again."""

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update

from rollout.errors import KeyDeleted, RetryMismatch
from rollout.ledger import tables
from rollout.ledger.projects import Projects
from rollout.ledger.records import Key, key_digest

REPEATABLE_SECONDS = 7 * 24 * 3600  # how long a call is remembered


class Keys(Projects):
    """The keys of all projects, and the calls that make them."""

    async def create_key(
        self,
        secret: str,
        *,
        project: str,
        scopes: Collection[str],
        name: str = "",
        limits: Mapping[str, int] | None = None,
        expires: int | None = None,
    ) -> Key:
        """Store the hash of a key's secret; for a known secret, return its key. Raises KeyDeleted."""
        row = {
            "id": f"key_{secrets.token_hex(8)}",
            "project": project,
            "name": name,
            "digest": key_digest(secret),
            "hint": secret[:8],
            "scopes": sorted(scopes),
            "limits": dict(limits or {}),
            "created": self._now(),
            "expires": expires,
        }
        await self._database.insert_missing(tables.keys, row)
        made = await self.find_key(secret)
        if made is None:
            raise KeyDeleted(secret[:8])
        return made

    async def find_key(self, secret: str) -> Key | None:
        """The key with this secret, also after it has expired."""
        return await self._key(tables.keys.c.digest == key_digest(secret))

    async def key(self, key_id: str) -> Key | None:
        """The key with this id, also after it has expired."""
        return await self._key(tables.keys.c.id == key_id)

    async def keys(self, project: str | None = None) -> list[Key]:
        """The keys of one project, or of all, oldest first."""
        table = tables.keys
        query = select(table).where(table.c.deleted.is_(None)).order_by(table.c.created, table.c.id)
        if project is not None:
            query = query.where(table.c.project == project)
        return [to_key(row) for row in await self._database.rows(query)]

    async def delete_key(self, key_id: str, *, project: str | None = None) -> bool:
        """Delete a key, of this project if one is given; return whether there was one."""
        table = tables.keys
        statement = update(table).where(table.c.id == key_id, table.c.deleted.is_(None))
        if project is not None:
            statement = statement.where(table.c.project == project)
        async with self._database.transaction() as connection:
            gone = await connection.execute(statement.values(deleted=self._now()))
            return gone.rowcount > 0

    async def remember_call(self, call_id: str, *, body_digest: str, retry_key: str) -> None:
        """Remember the body of a call that may be repeated. Raises RetryMismatch if it had another one before."""
        table, now = tables.repeatable_calls, self._now()
        row = {"id": call_id, "body_digest": body_digest, "created": now}
        await self._database.insert_missing(table, row)
        query = select(table.c.body_digest).where(table.c.id == call_id)
        (known,) = await self._database.rows(query)
        if known["body_digest"] != body_digest:
            raise RetryMismatch(retry_key)
        async with self._database.transaction() as connection:
            old = table.c.created < now - REPEATABLE_SECONDS
            await connection.execute(delete(table).where(old))

    async def _key(self, condition: ColumnElement[bool]) -> Key | None:
        query = select(tables.keys).where(condition, tables.keys.c.deleted.is_(None))
        rows = await self._database.rows(query)
        return to_key(rows[0]) if rows else None


def to_key(row: Mapping[str, Any]) -> Key:
    """A row of the keys, without the hash."""
    fields = {name: row[name] for name in Key.__struct_fields__}
    return Key(**fields | {"scopes": frozenset(row["scopes"])})
