"""Every route of the gateway against every wrong key. The routes are read from the application: a new one is attacked too."""

import inspect
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute

from docs.generate.http import SCOPES
from gateway.api.dependencies import ModelViewer, Opener
from gateway.app import create_app
from tests.gateway.conftest import eventually
from tests.gateways import ADMIN_KEY, Gateway

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
ALL_SCOPES = {"infer", "reward", "read", "observe", "admin"}
PUBLIC = {"/healthz", "/readyz", "/health", "/"}


class Call(NamedTuple):
    """One method of one route, with the ids of the served project in its path."""

    method: str
    path: str
    body: Any
    scopes: frozenset[str]  # one of these is needed
    names_one: bool  # something that belongs to one project
    is_open_to_episode_keys: bool


def calls(ids: Mapping[str, str]) -> list[Call]:
    """Every call of ours that needs a key, and the chat endpoint."""
    services: Any = None  # nothing is called
    bodies = {
        "/v1/episodes/{id}/rewards": {"value": 1},
        "/v1/rewards": {"value": 1, "episode_id": ids["episodes"]},
        "/rl/set_reward": {"reward": 1},
    }
    found = [Call("POST", CHAT, BODY, frozenset({"infer"}), False, True)]
    for route in create_app(services, {}).routes:
        if not isinstance(route, APIRoute) or route.path in PUBLIC:
            continue
        caller = inspect.signature(route.endpoint).parameters["caller"].annotation
        kind = route.path.split("/")[2]
        path = re.sub(r"{\w+}", ids.get(kind, "1"), route.path)
        scopes = frozenset(SCOPES[caller].split()) - {"or"}
        names_one = kind != "models" and ("{" in route.path or route.path in bodies)
        is_open = caller in (ModelViewer, Opener)
        body = bodies.get(route.path, {})
        found += [Call(method, path, body, scopes, names_one, is_open) for method in route.methods]
    return found


@pytest.fixture
async def ids(served: Gateway) -> dict[str, str]:
    """An episode, its group, a key and a policy of the served project."""
    opened = (await served.admin.post("/v1/episodes", json={})).json()
    key = (await served.admin.post("/v1/keys", json={})).json()
    return {
        "episodes": opened["id"],
        "groups": opened["group_id"],
        "keys": key["id"],
        "policies": "0",
        "models": "policy",
        "episode_key": opened["api_key"],
    }


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=30) as client:
        yield client


async def answer(client: httpx.AsyncClient, call: Call, key: str | bytes) -> httpx.Response:
    value = key if isinstance(key, bytes) else key.encode()
    headers = {b"authorization": b"Bearer " + value} if value else {}
    return await client.request(call.method, call.path, json=call.body, headers=headers)


async def made(served: Gateway, **fields: Any) -> dict[str, Any]:
    key: dict[str, Any] = (await served.admin.post("/v1/keys", json=fields)).json()
    return key


async def worthless(served: Gateway, ids: Mapping[str, str]) -> dict[str, str | bytes]:
    """Keys that are nobody's."""
    deleted = await made(served, scopes=sorted(ALL_SCOPES))
    await served.admin.delete(f"/v1/keys/{deleted['id']}")
    expired = await made(served, scopes=sorted(ALL_SCOPES), expires_in_seconds=1)
    signed = ids["episode_key"]

    async def has_expired() -> bool:
        headers = {"authorization": f"Bearer {expired['key']}"}
        return (await served.admin.get("/v1/keys", headers=headers)).status_code == 401

    await eventually(has_expired)
    return {
        "none": "",
        "unknown": "tg-" + "0" * 64,
        "deleted": deleted["key"],
        "expired": expired["key"],
        "cut": ADMIN_KEY[:-1],
        "longer": ADMIN_KEY + "x",
        "id": deleted["id"],
        "episode, cut": signed[:-1],
        "episode, unsigned": signed.partition(".")[0] + ".",
        "episode, senseless": "tg-ep-!!!.???",
        "not ASCII": "tg-ключ".encode(),
        "huge": "tg-" + "k" * 6000,
    }


async def test_a_worthless_key_opens_no_route(
    served: Gateway, client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    """Without a key, and with an unknown, deleted, expired, altered or huge one, every route is 401."""
    keys = await worthless(served, ids)
    before = (await served.admin.get("/v1/training")).json()
    for call in calls(ids):
        for name, key in keys.items():
            refused = await answer(client, call, key)
            assert refused.status_code == 401, (call, name, refused.text)
            assert refused.json()["error"]["type"] == "authentication_error"
            assert not isinstance(key, str) or not key or key not in refused.text
    assert (await served.admin.get("/v1/training")).json() == before


async def test_every_route_needs_one_of_its_scopes(
    served: Gateway, client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    """A key with every scope but those of a route is 403 there, and changes nothing."""
    lacking: dict[frozenset[str], str] = {}
    for call in calls(ids):
        if call.scopes not in lacking:
            scopes = sorted(ALL_SCOPES - call.scopes)
            lacking[call.scopes] = (await made(served, scopes=scopes))["key"]
        refused = await answer(client, call, lacking[call.scopes])
        assert refused.status_code == 403, (call, refused.text)
        assert refused.json()["error"]["code"] == "insufficient_scope"


async def test_an_episode_key_opens_its_episode_only(
    served: Gateway, client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    """The key of an episode takes turns and sees models; every other route is 403."""
    for call in calls(ids):
        status = (await answer(client, call, ids["episode_key"])).status_code
        is_open = call.is_open_to_episode_keys and call.path != "/v1/episodes"
        assert (status == 200) == is_open, call
        assert status in (200, 403), call


async def test_a_key_of_another_project_reaches_nothing_of_this_one(
    served: Gateway, client: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    """With every scope elsewhere, what a path names here is 404, and no list names anything of this project."""
    other = f"{served.project}-b"
    await served.admin.post("/v1/projects", json={"name": other})
    key = (await made(served, scopes=sorted(ALL_SCOPES), project=other))["key"]
    for call in calls(ids):
        reached = await answer(client, call, key)
        assert reached.status_code < 500, (call, reached.text)
        shown = reached.text.replace(other, "")
        assert not any(ids[kind] in shown for kind in ("episodes", "groups", "keys")) or (
            reached.status_code == 404
        ), call
        assert served.project not in shown, call
        if call.names_one:
            assert reached.status_code == 404, (call, reached.text)
    shown = (await served.admin.get(f"/v1/episodes/{ids['episodes']}")).json()
    assert (shown["status"], shown["rewards"]) == ("open", [])
    assert (await served.admin.get("/v1/training")).json()["paused"] is False
    assert any(k["id"] == ids["keys"] for k in (await served.admin.get("/v1/keys")).json()["data"])


async def test_public_routes_say_nothing_of_projects(
    served: Gateway, client: httpx.AsyncClient
) -> None:
    """What needs no key names no project, key or engine secret."""
    for path in sorted(PUBLIC - {"/"}):
        assert served.project not in (await client.get(path)).text
