"""What the client repeats, how long it waits, and what its errors say: a scripted gateway, and both kinds of clients."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.python.kinds import KINDS, Kind, done, inside, opened
from tests.clients.scripted_gateway import Asked, Reply, scripted_gateway
from turngate import Turngate
from turngate.errors import (
    BadRequest,
    RateLimited,
    SettingMissing,
    Unavailable,
    UnexpectedReply,
    Unreachable,
)

OPENED = Reply({"id": "ep_1", "group_id": "g", "status": "open", "api_key": "tg-ep-1"}, 201)
SOON = {"retry-after": "0.01"}


def in_turn(*replies: Reply | None) -> Callable[[Asked], Reply | None]:
    """These, and the last one again and again."""
    script: Iterator[Reply | None] = iter(replies[:-1])
    return lambda _: next(script, replies[-1])


def error(status: int, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    body = {"error": {"message": "no room; wait", "type": "t", "code": "c", "param": None} | fields}
    return Reply(body, status, SOON if headers is None else headers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [error(429), error(503), error(500), Reply("<html>", 502, SOON)],
    ids=lambda f: f.status,
)
async def test_a_call_is_repeated_until_it_is_answered(kind: Kind, fault: Reply) -> None:
    """What passes is waited for, as long as the gateway says, with the same key and the same body."""
    async with (
        scripted_gateway(in_turn(fault, fault, OPENED)) as gateway,
        opened(kind, gateway.root, "tg-1") as client,
    ):
        episode = client.episode(task="17")
        await done(episode.open)

    keys = {asked.headers["idempotency-key"] for asked in gateway.asked}
    assert episode.id == "ep_1"
    assert [asked.body for asked in gateway.asked] == [{"task_id": "17"}] * 3
    assert len(keys) == 1
    assert gateway.asked[0].headers["authorization"] == "Bearer tg-1"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cut_connection_is_repeated(kind: Kind) -> None:
    """A reward whose answer is lost is posted again under its key."""
    answer = Reply(
        {"episode_id": "ep_1", "turn_id": None, "choice_index": None, "name": "reward"}
        | {"value": 1.0, "created": 1, "amended": False}
    )
    async with (
        scripted_gateway(in_turn(OPENED, None, answer)) as gateway,
        opened(kind, gateway.root, "tg-1") as client,
    ):
        episode = client.episode()
        await done(episode.open)
        await done(episode.reward, 1.0)

    lost, repeated = (asked.body["idempotency_key"] for asked in gateway.asked[1:])
    assert lost == repeated


@pytest.mark.parametrize("kind", KINDS)
async def test_a_mistake_is_not_repeated(kind: Kind) -> None:
    """A 422 is raised at once, with what the gateway said about it."""
    async with (
        scripted_gateway(in_turn(error(422, {}, param="group_size"))) as gateway,
        opened(kind, gateway.root, "tg-1") as client,
    ):
        with pytest.raises(BadRequest) as refused:
            await done(client.episode().open)

    assert len(gateway.asked) == 1
    assert (refused.value.param, refused.value.code) == ("group_size", "c")
    assert str(refused.value) == "no room; wait (422, c)"


@pytest.mark.parametrize("kind", KINDS)
async def test_patience_and_retries_end(kind: Kind) -> None:
    """The last error is raised: a limit after the client's patience, a failure after its retries."""
    async with (
        scripted_gateway(lambda asked: error(429 if "models" in asked.path else 503)) as gateway,
        opened(kind, gateway.root, "tg-1", patience=0.05, max_retries=2) as client,
    ):
        started = time.monotonic()
        with pytest.raises(RateLimited):
            await done(client.models)
        limited = len(gateway.asked)
        with pytest.raises(Unavailable):
            await done(client.training)

    assert limited > 1
    assert len(gateway.asked) - limited == 3
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("kind", KINDS)
async def test_a_delete_that_was_done_is_done(kind: Kind) -> None:
    """The first attempt deleted and its answer was lost; the second finds nothing, which is what was wanted."""
    async with (
        scripted_gateway(in_turn(error(503), error(404, {}))) as gateway,
        opened(kind, gateway.root, "tg-1") as client,
    ):
        await done(client.delete_key, "key_1")

    assert gateway.paths() == ["/v1/keys/key_1"] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_gateway_is_named(kind: Kind) -> None:
    """A page, an answer without its fields and a closed port each say what to look at."""
    async with (
        scripted_gateway(lambda asked: Reply("hello" if "models" in asked.path else {})) as gateway,
        opened(kind, gateway.root, "tg-1") as client,
    ):
        with pytest.raises(UnexpectedReply, match="TURNGATE_BASE_URL"):
            await done(client.models)
        with pytest.raises(UnexpectedReply, match="id, group_id, status, api_key is missing"):
            await done(client.episode().open)
    async with opened(kind, gateway.root, "tg-1", max_retries=0) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1.*does the gateway run"):
            await done(client.models)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_error_of_the_block_is_raised_although_completing_fails(kind: Kind) -> None:
    """What went wrong first is what the user sees; the other is a note to it."""
    async with (
        scripted_gateway(in_turn(OPENED, error(409, {}))) as gateway,
        opened(kind, gateway.root, "tg-1") as client,
    ):
        with pytest.raises(ZeroDivisionError) as raised:
            async with inside(client.episode()):
                raise ZeroDivisionError

    assert "ep_1 could not be completed: no room; wait" in raised.value.__notes__[0]


def test_without_a_key_the_message_says_where_one_comes_from() -> None:
    """Neither argument nor environment gives one."""
    with pytest.raises(SettingMissing, match=r"TURNGATE_API_KEY.*turngate keys create"):
        Turngate("http://127.0.0.1:1", "")


@pytest.mark.parametrize("given", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_end_as_other_sdks_want_it(given: str) -> None:
    """With or without `/v1` and a slash it is the same gateway."""
    with Turngate(given, "tg-1") as client:
        assert client.connection.root == "http://h:1"
