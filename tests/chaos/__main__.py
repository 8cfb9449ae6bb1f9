"""`python -m tests.chaos`: kills, stops, cuts and fills while agents work, then checks that nothing acknowledged was lost."""

import argparse
import asyncio
import random
import sys

from rich.console import Console

from tests.chaos.faults import RARE, WEIGHTS
from tests.chaos.report import table
from tests.chaos.run import RETENTION_SECONDS, Plan, carried_out

SOAK_RETENTION_SECONDS = (
    600.0  # so that most of a run shows a Redis that forgets as much as it learns
)


def main() -> int:
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    console = Console(width=160)
    console.print(f"seed {seed}")
    known = WEIGHTS | RARE
    kinds = arguments.kinds or list(WEIGHTS)
    plan = Plan(
        seed,
        seconds=60 * arguments.minutes,
        faults=arguments.faults,
        every_seconds=arguments.every,
        agents=arguments.agents,
        engines=arguments.engines,
        real_engines=arguments.real_engines,
        weights={} if arguments.soak else {kind: known[kind] for kind in kinds},
        on_postgres=arguments.postgres,
        retention_seconds=SOAK_RETENTION_SECONDS if arguments.soak else RETENTION_SECONDS,
        keep=arguments.keep,
    )
    return asyncio.run(_run(plan, console))


async def _run(plan: Plan, console: Console) -> int:
    async with carried_out(plan, told=console.print) as outcome:
        parts = table(
            service=outcome.service,
            journal=outcome.journal,
            faults=outcome.faults,
            findings=outcome.findings,
            progress=outcome.progress,
            held=outcome.held,
        )
        console.print(parts)
        if plan.keep:
            console.print(f"kept: {outcome.service.data_dir}")
        return 1 if outcome.findings.offenders else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, help="of the faults and the agents; printed")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--faults", type=int, help="end after this number instead")
    parser.add_argument("--every", type=float, default=12.0, help="seconds between faults")
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--engines", type=int, default=3)
    parser.add_argument("--real-engines", type=int, default=1, help="of these, SGLang")
    parser.add_argument("--postgres", action="store_true", help="the ledger on PostgreSQL")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[*WEIGHTS, *RARE],
        metavar="KIND",
        help="default: all but the clock jump",
    )
    parser.add_argument("--soak", action="store_true", help="no faults: what the processes hold")
    parser.add_argument("--keep", action="store_true", help="the data directory")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
