"""The ledger's SQL connection: a SQLite file by default, PostgreSQL by URL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Select, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from rollout.errors import LedgerAddressWrong, LedgerUnavailable, ValueRefused

CALL_SECONDS = 10  # for a lock or an answer; a caller waits for it
# PostgreSQL ends the transaction of a process that stalls in it for 30 s, so that it holds no locks. SQLite cannot.
SERVER_SETTINGS = {"idle_in_transaction_session_timeout": "30000"}
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_361_746  # any number that all our processes share
# Classes of PostgreSQL's SQLSTATE: a broken connection, a read-only server, a rollback of its own, no resources, a shutdown,
# a lock that is not free, a system error.
AWAY = frozenset({"08", "25", "40", "53", "55", "57", "58"})
BAD_VALUE = "22"
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Database:
    """Transactions on one database; raises LedgerUnavailable when it cannot be used."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    def connect(cls, url: str) -> "Database":
        """`sqlite:///path` or `postgresql://user@host/name`; nothing is opened yet."""
        try:
            return cls._connect(make_url(url))
        except ArgumentError as error:
            raise LedgerAddressWrong(str(error)) from error
        except ValueError:
            raise LedgerAddressWrong("the port in its URL is no number") from None

    @classmethod
    def _connect(cls, parsed: URL) -> "Database":
        driver = DRIVERS.get(parsed.drivername, parsed.drivername)
        is_sqlite = driver.startswith("sqlite")
        limits: dict[str, object] = {"timeout": CALL_SECONDS}
        if not is_sqlite:
            limits |= {"command_timeout": CALL_SECONDS, "server_settings": SERVER_SETTINGS}
        engine = create_async_engine(
            parsed.set(drivername=driver), connect_args=limits, pool_pre_ping=not is_sqlite
        )
        if is_sqlite:
            event.listen(engine.sync_engine, "connect", configure_sqlite)
            event.listen(engine.sync_engine, "begin", begin_sqlite)
        return cls(engine)

    @asynccontextmanager
    async def transaction(self, *, immediate: bool = False) -> AsyncIterator[AsyncConnection]:
        """Commits if the block ends without an exception. Raises LedgerUnavailable, and ValueRefused for what no column holds."""
        try:
            async with self._engine.execution_options(immediate=immediate).begin() as connection:
                yield connection
        except DBAPIError as error:
            raise translated(error) from error
        except (OverflowError, UnicodeEncodeError) as error:  # of SQLite's driver
            raise ValueRefused(type(error).__name__) from error
        except (OSError, TimeoutError, PoolTimeoutError) as error:
            raise LedgerUnavailable(str(error) or "no answer in time") from error

    async def upsert(
        self, table: Table, rows: Sequence[Mapping[str, object]], *, newest: str | None = None
    ) -> None:
        """Write rows with the same columns by primary key; an existing row gets these columns unless its `newest` column is
        greater.
        """
        if not rows:
            return
        insert = self._insert(table)
        statement = insert.on_conflict_do_update(
            index_elements=table.primary_key.columns,
            set_={name: insert.excluded[name] for name in rows[0] if name not in table.primary_key},
            where=None if newest is None else insert.excluded[newest] >= table.c[newest],
        )
        async with self.transaction() as connection:
            await connection.execute(statement, [dict(row) for row in rows])

    async def insert_missing(self, table: Table, *rows: Mapping[str, object]) -> None:
        """Write the rows whose primary keys do not exist."""
        async with self.transaction() as connection:
            statement = self._insert(table).on_conflict_do_nothing()
            await connection.execute(statement, [dict(row) for row in rows])

    async def rows(self, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        """The rows that a query finds."""
        async with self.transaction() as connection:
            return list((await connection.execute(query)).mappings())

    async def migrate(self) -> None:
        """Bring the tables up to date; processes that start together take turns."""
        async with self.transaction(immediate=True) as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            await connection.run_sync(upgrade)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    def _insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        if self._engine.dialect.name == "sqlite":
            return sqlite.insert(table)
        return postgresql.insert(table)


def translated(error: DBAPIError) -> Exception:
    """Whose fault an error of the database is: the value's, the database's for now, or ours, which stays as it is."""
    state = str(getattr(error.orig, "sqlstate", None) or "")[:2]
    cause = getattr(error.orig, "__cause__", None)
    # PostgreSQL's driver refuses some values itself, with an error that is a ValueError, too.
    if state == BAD_VALUE or isinstance(error, DataError) or isinstance(cause, ValueError):
        return ValueRefused(type(cause or error).__name__)
    if state in AWAY or isinstance(error, OperationalError | InterfaceError):
        return LedgerUnavailable(str(error.orig))
    return error


def upgrade(connection: Connection) -> None:
    """Run the migrations that this database lacks."""
    if MigrationContext.configure(connection).get_current_heads() == _newest():
        return
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@cache
def _newest() -> tuple[str, ...]:
    return tuple(ScriptDirectory.from_config(_config()).get_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def configure_sqlite(connection: DBAPIConnection, _record: object) -> None:
    """Concurrent readers with a writer, checked foreign keys, and transactions that include table changes."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin_sqlite(connection: Connection) -> None:
    """Begin SQLite's own transaction; an immediate one excludes other writers from its start."""
    is_immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_immediate else "BEGIN")
