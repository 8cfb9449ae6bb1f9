"""What belongs to another project is as unknown as what does not exist; the root key rules all projects."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from rollout.policies import Policy
from tests.gateways import Gateway

BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
CHAT = "/v1/chat/completions"
SCOPES = ["infer", "reward", "read", "observe", "admin"]


class Tenants(NamedTuple):
    """Keys with every scope, of the served project and of another one."""

    served: httpx.AsyncClient
    other: httpx.AsyncClient
    other_project: str


def client_of(served: Gateway, key: str, **headers: str) -> httpx.AsyncClient:
    bearing = {"authorization": f"Bearer {key}"} | headers
    return httpx.AsyncClient(base_url=served.url, headers=bearing, trust_env=False)


async def made_key(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/keys", json=fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
async def tenants(served: Gateway) -> AsyncIterator[Tenants]:
    other = f"{served.project}-b"
    await served.admin.post("/v1/projects", json={"name": other})
    keys = [
        (await made_key(served.admin, scopes=SCOPES, project=project))["key"]
        for project in (served.project, other)
    ]
    async with client_of(served, keys[0]) as own, client_of(served, keys[1]) as foreign:
        yield Tenants(own, foreign, other)


async def test_an_admin_key_rules_the_keys_of_its_project_only(
    served: Gateway, tenants: Tenants
) -> None:
    """It lists, makes and deletes keys of its own project; every other project and key is not found."""
    mine = await made_key(tenants.served, scopes=["infer"])
    listed = (await tenants.other.get("/v1/keys")).json()["data"]
    answers = [
        await tenants.other.post("/v1/keys", json={"project": served.project}),
        await tenants.other.get("/v1/keys", params={"project": served.project}),
        await tenants.other.delete(f"/v1/keys/{mine['id']}"),
    ]
    never = await tenants.other.delete("/v1/keys/key_none")
    assert {key["project"] for key in listed} == {tenants.other_project}
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert answers[2].json()["error"]["code"] == never.json()["error"]["code"] == "key_not_found"
    async with client_of(served, mine["key"]) as client:
        assert (await client.post(CHAT, json=BODY)).status_code == 200


async def test_only_the_root_key_makes_and_lists_all_projects(
    served: Gateway, tenants: Tenants
) -> None:
    """An admin key sees its own project, changes its history policy, and creates none."""
    created = await tenants.other.post("/v1/projects", json={"name": "taken"})
    foreign = await tenants.other.post("/v1/projects", json={"name": served.project})
    own = await tenants.other.post(
        "/v1/projects", json={"name": tenants.other_project, "history": "verbatim"}
    )
    seen = (await tenants.other.get("/v1/projects")).json()["data"]
    everything = (await served.admin.get("/v1/projects")).json()["data"]
    assert (created.status_code, foreign.status_code) == (403, 403)
    assert own.json()["history"] == "verbatim"
    assert [project["name"] for project in seen] == [tenants.other_project]
    assert {served.project, tenants.other_project} <= {each["name"] for each in everything}


async def test_another_project_operates_its_own_training(served: Gateway, tenants: Tenants) -> None:
    """Pausing or activating with another project's admin key leaves the served project as it was."""
    policy = Policy(version=0, path="/nowhere", parent=None, digest="d", created=1)
    await served.store.record_policy(policy)
    paused = await tenants.other.post("/v1/training/pause")
    activated = await tenants.other.post("/v1/policies/0/activate")
    released = await tenants.other.post("/v1/policies/release")
    seen = (await tenants.other.get("/v1/policies")).json()["data"]
    assert paused.json()["paused"] is True
    assert (await served.admin.get("/v1/training")).json()["paused"] is False
    assert (activated.status_code, activated.json()["error"]["code"]) == (404, "policy_not_found")
    assert (released.json()["version"], released.json()["swaps"], seen) == (None, [], [])
    assert (await tenants.served.get("/v1/policies/0")).json()["is_active"] is True


async def test_the_root_key_acts_in_a_project_by_name(served: Gateway, tenants: Tenants) -> None:
    """With X-Turngate-Project the root key is an admin key of that project; to others the header opens nothing."""
    there = {"X-Turngate-Project": tenants.other_project}
    opened = (await served.admin.post("/v1/episodes", json={}, headers=there)).json()
    path = f"/v1/episodes/{opened['id']}"
    shown = await served.admin.get(path, headers=there)
    without = await served.admin.get(path)
    listed = (await served.admin.get("/v1/keys", headers=there)).json()["data"]
    missing = await served.admin.get(path, headers={"X-Turngate-Project": "nobody"})
    own = await tenants.other.get(path, headers=there)
    foreign = await tenants.other.get(path, headers={"X-Turngate-Project": served.project})
    assert (shown.status_code, without.status_code, own.status_code) == (200, 404, 200)
    assert {key["project"] for key in listed} == {tenants.other_project}
    for refused in (missing, foreign):
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "project_not_found")


async def test_observe_sees_everything_and_changes_nothing(served: Gateway) -> None:
    """A key with the scope `observe` reads every list and record of its project; each change is 403."""
    key = (await made_key(served.admin, scopes=["observe"]))["key"]
    opened = (await served.admin.post("/v1/episodes", json={})).json()
    path = f"/v1/episodes/{opened['id']}"
    read = ["/v1/episodes", path, f"/v1/groups/{opened['group_id']}", "/v1/training"]
    read += ["/v1/policies", "/v1/keys", "/v1/projects", "/v1/models"]
    changes = [
        ("POST", CHAT, BODY),
        ("POST", "/v1/episodes", {}),
        ("POST", f"{path}/rewards", {"value": 1}),
        ("POST", f"{path}/complete", {}),
        ("DELETE", path, None),
        ("POST", "/v1/keys", {}),
        ("POST", "/v1/projects", {"name": served.project}),
        ("POST", "/v1/training/pause", None),
    ]
    async with client_of(served, key) as client:
        seen = [(await client.get(each)).status_code for each in read]
        refused = [(await client.request(m, p, json=body)).status_code for m, p, body in changes]
    assert set(seen) == {200}
    assert set(refused) == {403}


WRONG = (
    ("/v1/episodes", {"task": "t"}, "task"),
    ("/v1/keys", {"scope": ["infer"], "limits": {}}, "scope"),
    ("/v1/projects", {"name": "p", "trained": False}, "trained"),
    ("/v1/episodes/ep_1/rewards", {"value": 1, "turn": "turn_1"}, "turn"),
    ("/v1/episodes/ep_1/complete", {"state": "failed"}, "state"),
    ("/v1/rewards", {"episode_id": "x", "value": 1, "weight": 2}, "weight"),
    ("/v1/rewards", [{"episode_id": "x", "value": 1}, {"value": 1, "x": 2}], "[1].x"),
)


@pytest.mark.parametrize(("path", "body", "param"), WRONG)
async def test_an_unknown_field_is_named(served: Gateway, path: str, body: Any, param: str) -> None:
    """A field that a call of ours does not have is 422, with the field and its index as `param`."""
    answer = await served.admin.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param), answer.text
    assert param in answer.json()["error"]["message"]


MISTAKES = (
    (b'{"episode_id": "x", "value": NaN}', "value"),
    (b'{"episode_id": "x", "value": null}', "value"),
    (b'{"value": 1}', None),
    (b'[{"episode_id": "x", "value": "1"}]', "[0].value"),
    (b'[{"episode_id": "x", "value": 1}, {"value": 1}]', "[1]"),
    (b"[1]", "[0]"),
    (b'"x"', None),
)


@pytest.mark.parametrize(("body", "param"), MISTAKES)
async def test_a_wrong_reward_is_named_in_the_words_of_its_caller(
    served: Gateway, body: bytes, param: str | None
) -> None:
    """`param` is the caller's field with its index; no name of the validator is in the answer."""
    answer = await served.admin.post(
        "/v1/rewards", content=body, headers={"content-type": "application/json"}
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (422, param), error
    words = error["message"].lower()
    assert not any(
        inner in words for inner in ("function", "addressed", "tag", "value error", "many")
    )
