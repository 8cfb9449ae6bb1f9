"""The nodes of a Redis Cluster that hold our keys, each with its own connections. Without a cluster there is one node.

A project lies in one slot. A node that does not have the slot answers which one has (`MOVED`); the project's calls go there
from then on, until that node names another one or does not answer. Then they go to the next node that was met, which knows
by then who has taken the slot; the one at the address in the URL may be the one that died.
"""

from redis.asyncio import Redis
from redis.exceptions import MovedError

from rollout.errors import StoreUnavailable
from rollout.store.command_batcher import Argument, CommandBatcher
from rollout.store.connection import client_of_node


class ClusterNodes:
    """A batcher for each node that was met; the first is at the address in the URL."""

    def __init__(self, redis: Redis, *, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self.first = CommandBatcher(redis, deadline_seconds=deadline_seconds)
        self._others: dict[tuple[str, int], CommandBatcher] = {}

    def at(self, host: str, port: int) -> CommandBatcher:
        """The batcher of the node at this address; no host means that of the URL."""
        host = host or self.first.redis.connection_pool.connection_kwargs.get("host", "localhost")
        if (host, port) not in self._others:
            redis = client_of_node(self.first.redis, host, port)
            batcher = CommandBatcher(redis, deadline_seconds=self._deadline_seconds)
            self._others[host, port] = batcher
        return self._others[host, port]

    def after(self, batcher: CommandBatcher) -> CommandBatcher:
        """The node that was met next; the first after the last."""
        known = [self.first, *self._others.values()]
        return known[(known.index(batcher) + 1) % len(known)]

    async def close(self) -> None:
        """Close the connections to all nodes; calls still waiting fail with StoreUnavailable."""
        for batcher in (self.first, *self._others.values()):
            await batcher.close()
            await batcher.redis.aclose()


class SlotNode:
    """The node that has a slot, as far as is known."""

    def __init__(self, nodes: ClusterNodes) -> None:
        self._nodes = nodes
        self.batcher = nodes.first

    async def call(self, *command: Argument) -> object:
        """One command whose keys are in the slot."""
        node = self.batcher
        try:
            try:
                return await node.submit(*command)
            except MovedError as moved:
                node = self.follow(moved)
                return await node.submit(*command)
        except StoreUnavailable:
            self.forget(node)
            raise

    def follow(self, moved: MovedError) -> CommandBatcher:
        """Go to the node that an answer names."""
        self.batcher = self._nodes.at(moved.host, moved.port)
        return self.batcher

    def forget(self, batcher: CommandBatcher) -> None:
        """Ask the next node that was met, once for all calls that this one does not answer."""
        if self.batcher is batcher:
            self.batcher = self._nodes.after(batcher)
