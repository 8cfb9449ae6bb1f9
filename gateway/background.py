"""What a gateway does between requests: watch the engines, and apply every project's deadlines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.services import Services
from rollout.settler import Settler
from rollout.store.store import Store


@asynccontextmanager
async def in_background(services: Services) -> AsyncIterator[None]:
    """Run the tasks until the block ends; if one fails, the process ends."""
    await services.pool.probe()
    async with asyncio.TaskGroup() as tasks:
        running = {tasks.create_task(services.pool.monitor())}

        def start_settler(store: Store) -> None:
            running.add(tasks.create_task(Settler(store, services.ledger).run()))

        services.stores.on_each(start_settler)
        for project in await services.ledger.projects():
            await services.stores.of(project.name).prepare()
        try:
            yield
        finally:
            for task in running:
                task.cancel()
