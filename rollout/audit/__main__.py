"""`python -m rollout.audit`: audit one project, and print the report as JSON.

Addresses come from the environment, because they may hold passwords. Exit code 0: nothing contradicts. 1: offenders. 2: the store,
the ledger, the journal or a gateway's metrics cannot be read.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rollout.audit.audit import Audit, Report
from rollout.audit.journal import JournalLine, JournalUnreadable, read_journal
from rollout.errors import RolloutError
from rollout.ledger.ledger import Ledger
from rollout.policies import PolicyStore
from rollout.store.sharded.sharded_store import open_recorded

OFFENDERS, UNREADABLE = 1, 2
CALL_SECONDS = 60.0  # a page of long episodes takes longer than a turn


class AuditSettings(BaseSettings):
    """The addresses of what is audited; the names are those of the gateway."""

    model_config = SettingsConfigDict(env_prefix="TURNGATE_", frozen=True, extra="ignore")

    redis_url: str = Field()
    database_url: str = Field()
    weights_dir: Path = Field()
    project: str = Field(default="default")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rollout.audit")
    parser.add_argument("--journal", type=Path, help="what a client saw acknowledged")
    parser.add_argument("--metrics", action="append", default=[], help="a gateway's /metrics")
    options = parser.parse_args(arguments)
    try:
        journal = [] if options.journal is None else options.journal.read_bytes().splitlines(True)
        lines = list(read_journal(journal))
        report = asyncio.run(_audit(AuditSettings(), lines, options.metrics))
    except (RolloutError, JournalUnreadable, OSError, httpx.HTTPError, ValidationError) as error:
        sys.stderr.write(f"{error}\n")
        return UNREADABLE
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return OFFENDERS if report.offenders else 0


async def _audit(
    settings: AuditSettings, journal: Sequence[JournalLine], metrics: Sequence[str]
) -> Report:
    store = await open_recorded(
        settings.redis_url, project=settings.project, call_seconds=CALL_SECONDS
    )
    try:
        ledger = await Ledger.open(settings.database_url)
        try:
            audit = Audit(
                store,
                ledger,
                policies=PolicyStore(settings.weights_dir),
                journal=journal,
                metrics_urls=metrics,
            )
            return await audit.run()
        finally:
            await ledger.close()
    finally:
        await store.close()


if __name__ == "__main__":
    sys.exit(main())
