"""One store for each project, made at its first use. Listeners are called for each new one."""

from collections.abc import Callable

from rollout.store.store import Store


class Stores:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_project = {store.project: store}
        self._listeners: list[Callable[[Store], None]] = []

    def of(self, project: str) -> Store:
        store = self._by_project.get(project)
        if store is None:
            store = self._by_project[project] = self._store.of(project)
            for listener in self._listeners:
                listener(store)
        return store

    def on_each(self, listener: Callable[[Store], None]) -> None:
        """Call `listener` for every store there is, and for each that is made later."""
        self._listeners.append(listener)
        for store in self._by_project.values():
            listener(store)
