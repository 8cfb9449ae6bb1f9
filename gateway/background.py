"""What a gateway does between requests: watch engines, hear of changed keys, and apply every project's deadlines."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway.outage import until_available
from gateway.services import Services
from rollout.restarted_loop import run_restarted
from rollout.settler import Settler
from rollout.store.store import Store


@asynccontextmanager
async def in_background(services: Services) -> AsyncIterator[None]:
    """Run the tasks until the block ends; one that fails starts again by itself and hinders no other."""
    await services.pool.probe()
    async with asyncio.TaskGroup() as tasks:
        running: set[asyncio.Task[None]] = set()

        def start(loop: str, work: Callable[[], Awaitable[None]]) -> None:
            count = services.metrics.count_loop_failure
            running.add(tasks.create_task(run_restarted(loop, work, on_failure=count)))

        def start_settler(store: Store) -> None:
            start("settler", Settler(store, services.ledger).run)

        start("engines", services.pool.monitor)
        start("keys", services.key_changes.follow)
        start("leases", services.limits.renew)
        start("settlements", services.limits.settle)

        services.stores.on_each(start_settler)
        seconds = services.settings.start_seconds
        for project in await until_available(services.ledger.projects, seconds=seconds):
            await until_available(services.stores.of(project.name).prepare, seconds=seconds)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
