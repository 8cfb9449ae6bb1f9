"""Projects on the nodes of a real Redis Cluster: the store is told the address of one node."""

import asyncio
from collections.abc import Iterator

import pytest
import redis

from rollout.errors import StoreUnavailable
from rollout.store.cluster_nodes import ClusterNodes, SlotNode
from rollout.store.connection import connect
from rollout.store.key_changes import KeyChanges
from rollout.store.store import Store
from tests.redis_cluster import running_cluster
from tests.rollout.play import claim, play
from tests.rollout.store.pipeline.scripted_redis import Command, bulk, echo, scripted_redis

PROJECTS = [f"project-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as ports:
        yield ports


def keys_of(port: int, project: str) -> int:
    with redis.Redis(port=port) as node:
        return len(node.keys(f"turngate:{{{project}}}:*"))


async def test_projects_are_spread_over_the_nodes(ports: list[int]) -> None:
    """Each lies on one node whole; episodes are opened, rewarded, signalled, claimed and listed there."""
    store = Store.connect(f"redis://127.0.0.1:{ports[0]}")
    used = set()
    for project in PROJECTS:
        own = store.of(project)
        async with own.signals() as changes:
            await play(own, "ep_1")
            assert await own.wait_ready(5)
            assert len(await claim(own)) == 1
            assert await changes.wait(5) is not None
        places = [port for port in ports if keys_of(port, project)]
        assert len(places) == 1
        names = [name async for some in own.key_names() for name in some]
        assert len(set(names)) == keys_of(places[0], project)
        used |= set(places)
    await store.close()

    assert used == set(ports)


async def test_many_first_calls_of_a_project_find_its_node(ports: list[int]) -> None:
    """They are answered at once, each once, and the script is sent to the node as often as it needs to be."""
    store = Store.connect(f"redis://127.0.0.1:{ports[1]}")

    opened = await asyncio.gather(
        *(play(store.of(p), f"ep_first_{n}") for p in PROJECTS for n in range(5))
    )

    assert len(opened) == 5 * len(PROJECTS)
    for project in PROJECTS:
        assert (await store.of(project).totals()).opened >= 5
    await store.close()


async def test_changes_of_keys_are_seen_through_every_node(ports: list[int]) -> None:
    """The counter lies on one node, whichever node a gateway was told."""
    stores = [Store.connect(f"redis://127.0.0.1:{port}") for port in ports]
    changes = [store.key_changes() for store in stores]
    for each in changes:
        await each.announce()
    assert sorted(each.revision for each in changes) == [1, 2, 3]
    for store in stores:
        await store.close()


async def test_a_node_that_does_not_answer_is_forgotten() -> None:
    """The next call asks another node, which knows by then who has taken the slots."""
    async with scripted_redis(echo) as gone:
        address = b"127.0.0.1:%d" % gone.port

    def answer(command: Command) -> bytes:
        return b"-MOVED 7 %b\r\n" % address if len(first.commands) == 1 else echo(command)

    async with scripted_redis(answer) as first:
        nodes = ClusterNodes(connect(first.url), deadline_seconds=5)
        node = SlotNode(nodes)
        with pytest.raises(StoreUnavailable):
            await node.call("GET", "k")

        assert await node.call("GET", "k") == b"k"
        await nodes.close()


async def test_a_first_node_that_died_is_passed_over() -> None:
    """After a failover of the node in the URL a project is reached through another that was met, and key changes as well."""
    heard = asyncio.Event()

    def answer_second(command: Command) -> bytes:
        if command[0] == b"SUBSCRIBE":
            heard.set()
            return b"*3\r\n" + bulk(b"subscribe") + bulk(command[1]) + b":1\r\n"
        return bulk(b"7")

    async with scripted_redis(answer_second) as second:
        moved = b"-MOVED 7 127.0.0.1:%d\r\n" % second.port
        async with scripted_redis(lambda _: moved) as first:
            nodes = ClusterNodes(connect(first.url), deadline_seconds=5)
            assert await SlotNode(nodes).call("GET", "k") == b"7"
        node, changes = SlotNode(nodes), KeyChanges(nodes)
        lost = await asyncio.gather(
            *(node.call("GET", "k") for _ in range(4)), return_exceptions=True
        )
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            following = tasks.create_task(changes.follow())
            await heard.wait()
            following.cancel()

        assert {type(each) for each in lost} == {StoreUnavailable}
        assert await node.call("GET", "k") == b"7"
        await nodes.close()
