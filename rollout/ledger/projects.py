"""The projects of the ledger. Every other record names one, so a write makes sure that it exists."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table, select, update

from rollout.ledger import tables
from rollout.ledger.database import Database
from rollout.ledger.records import Project

Record = TypeVar("Record", bound=msgspec.Struct)


class Projects:
    """The tenants, and how a record of theirs is written."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def project(self, name: str) -> Project:
        """The project of this name; created with a new secret if there is none."""
        if found := await self._project(name):
            return found
        row = {"name": name, "episode_secret": secrets.token_hex(32), "created": self._now()}
        await self._database.insert_missing(tables.projects, row)
        made = await self._project(name)
        assert made is not None, "a project that was just written is there"
        return made

    async def find_project(self, name: str) -> Project | None:
        """The project of this name."""
        return await self._project(name)

    async def configure_project(self, name: str, settings: Mapping[str, bool]) -> Project:
        """Change settings of a project, by their names in Project; it is created if there is none."""
        made = await self.project(name)
        if not settings:
            return made
        statement = update(tables.projects).where(tables.projects.c.name == name)
        async with self._database.transaction() as connection:
            await connection.execute(statement.values(**settings))
        return await self.project(name)

    async def projects(self) -> list[Project]:
        """All projects, by name."""
        rows = await self._database.rows(select(tables.projects).order_by(tables.projects.c.name))
        return [to_record(Project, row) for row in rows]

    async def _write(
        self, table: Table, project: str, rows: list[dict[str, Any]], *, newest: str | None = None
    ) -> None:
        """Write rows of a project; an existing row is replaced."""
        await self.project(project)
        named = [row | {"project": project} for row in rows]
        await self._database.upsert(table, named, newest=newest)

    async def _write_missing(self, table: Table, project: str, rows: list[dict[str, Any]]) -> None:
        """Write rows of a project; an existing row stays as it is."""
        await self.project(project)
        named = [row | {"project": project} for row in rows]
        await self._database.insert_missing(table, *named)

    async def _project(self, name: str) -> Project | None:
        query = select(tables.projects).where(tables.projects.c.name == name)
        rows = await self._database.rows(query)
        return to_record(Project, rows[0]) if rows else None

    def _now(self) -> int:
        return int(self._clock())


def to_record(kind: type[Record], row: Mapping[str, Any]) -> Record:
    """A record from the columns of a row that have its field names."""
    return kind(**{name: row[name] for name in kind.__struct_fields__})
