"""The store of each project, made once."""

from rollout.store import Store


class Stores:
    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._by_project = {project: store}

    def of(self, project: str) -> Store:
        store = self._by_project.get(project)
        if store is None:
            store = self._by_project[project] = self._store.of(project)
        return store
