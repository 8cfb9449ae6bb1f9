"""Making keys and projects: repeats have one effect, and settings reach the gateways."""

import asyncio
from typing import Any

import pytest

from tests.gateways import Gateway
from tests.profiles import per_profile
from tests.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
NUM_PAIRS = per_profile(ci=20, nightly=1000)


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


@pytest.mark.timeout(per_profile(ci=300, nightly=3600))
async def test_a_repeated_key_is_one_key(served: Gateway, other: Gateway) -> None:
    """Racing at two gateways, a call with one Idempotency-Key makes one key and shows both the same secret."""
    for number in range(NUM_PAIRS):
        calls = [
            gateway.admin.post("/v1/keys", json={"name": "ci"}, headers=keyed(f"k{number}"))
            for gateway in (served, other)
        ]
        first, second = [answer.json() for answer in await asyncio.gather(*calls)]
        assert first == second
        assert first["key"].startswith("tg-")
    listed = (await served.admin.get("/v1/keys")).json()["data"]
    assert len(listed) == len({key["id"] for key in listed}) == NUM_PAIRS


async def test_a_retry_key_with_another_body_is_refused(served: Gateway) -> None:
    """The same Idempotency-Key with another body is 409, for keys and for projects."""
    for path, body in (("/v1/keys", {"name": "a"}), ("/v1/projects", {"name": "mine"})):
        first = await served.admin.post(path, json=body, headers=keyed("k"))
        again = await served.admin.post(path, json=body, headers=keyed("k"))
        other = await served.admin.post(path, json=body | {"name": "b"}, headers=keyed("k"))
        assert first.json() == again.json()
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")


async def test_an_empty_retry_key_is_none(served: Gateway) -> None:
    """Two calls with an empty Idempotency-Key make two keys, as they open two episodes."""
    made = [
        (await served.admin.post("/v1/keys", json={}, headers=keyed(""))).json() for _ in range(2)
    ]
    assert made[0]["key"] != made[1]["key"]


async def test_a_repeat_does_not_bring_a_deleted_key_back(served: Gateway) -> None:
    """After a key was deleted, the call that made it is 409 and its secret stays worthless."""
    made = (await served.admin.post("/v1/keys", json={}, headers=keyed("k"))).json()
    await served.admin.delete(f"/v1/keys/{made['id']}")
    again = await served.admin.post("/v1/keys", json={}, headers=keyed("k"))
    use = await served.admin.post(
        CHAT, json=BODY, headers={"authorization": f"Bearer {made['key']}"}
    )
    assert (again.status_code, again.json()["error"]["code"]) == (409, "key_deleted")
    assert use.status_code == 401


async def test_nobody_gets_a_key_by_repeating_anothers_call(served: Gateway) -> None:
    """Two admins of one project who choose the same Idempotency-Key get different keys."""
    admins = [
        (await served.admin.post("/v1/keys", json={"scopes": ["admin"]})).json() for _ in range(2)
    ]
    made = [
        await served.admin.post(
            "/v1/keys", json={}, headers=keyed("k") | {"authorization": f"Bearer {admin['key']}"}
        )
        for admin in admins
    ]
    assert len({answer.json()["key"] for answer in made}) == 2


async def test_a_project_may_serve_without_training(served: Gateway, other: Gateway) -> None:
    """Its calls are recorded as side turns, count in no admission, and settle with no_signal."""
    shown = await served.admin.post("/v1/projects", json={"name": served.project, "train": False})
    await served.store.set_training({"max_live_episodes": 1})
    async with asyncio.timeout(5):
        while (await other.admin.get("/v1/projects")).json()["data"][0]["train"]:
            await asyncio.sleep(0.01)
    opened = [(await other.admin.post("/v1/episodes", json={})).json() for _ in range(3)]
    by_call = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_x"})
    path = f"/v1/episodes/{opened[0]['id']}"
    await served.admin.post(f"{path}/rewards", json={"value": 1, "complete": True})
    settled = (await served.admin.get(path)).json()
    kinds = {e["kind"] for e in (await served.admin.get("/v1/episodes")).json()["data"]}
    assert shown.json()["train"] is False
    assert by_call.status_code == 200
    assert kinds == {"side"}
    assert settled["disposition"] == "no_signal"
    again = await served.admin.post("/v1/projects", json={"name": served.project, "train": True})
    assert again.json()["train"] is True


async def test_a_private_prefix_cache_is_salted_and_not_reported(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """With the setting, calls carry the project's salt to the engine, and cached tokens are not told."""
    scripted.cached_tokens = 3
    shared = (await served.admin.post(CHAT, json=BODY)).json()
    body = {"name": served.project, "private_prefix_cache": True}
    assert (await served.admin.post("/v1/projects", json=body)).json()["private_prefix_cache"]
    private = (await served.admin.post(CHAT, json=BODY)).json()
    salts = [request.get("extra_key") for request in scripted.requests]
    assert shared["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    assert private["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert salts[0] is None
    assert len(salts[1]) == 32
    assert served.project not in salts[1]
