"""Who may do what: keys and scopes."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from gateway.access.api_keys import EPISODE_PREFIX, is_genuine, read_signed_key, signed_key
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine

BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
CHAT = "/v1/chat/completions"


async def new_key(served: Gateway, **fields: Any) -> dict[str, Any]:
    answer = await served.admin.post("/v1/keys", json=fields)
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


def bearing(served: Gateway, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False)


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer tg-wrong"}, {"authorization": "Basic x"}, {"x-api-key": "no"}],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/episodes"])
async def test_without_a_known_key_nothing_is_served(
    served: Gateway, scripted: ScriptedEngine, headers: dict[str, str], path: str
) -> None:
    """A missing or unknown key is 401 in OpenAI's shape, permanent, and reaches no engine."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        answer = await client.post(path, json=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["x-should-retry"] == "false"
    assert scripted.requests == []


async def test_both_headers_carry_a_key(served: Gateway) -> None:
    """`Authorization: Bearer` and `x-api-key` are the same."""
    key = (await new_key(served))["key"]
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            assert (await client.post(CHAT, json=BODY, headers=headers)).status_code == 200


SCOPES = (
    ("infer", "POST", CHAT, BODY),
    ("infer", "POST", "/v1/episodes", {}),
    ("infer observe", "GET", "/v1/models", None),
    ("reward", "POST", "/v1/episodes/ep_1/rewards", {"value": 1.0}),
    ("reward", "POST", "/v1/rewards", {"episode_id": "ep_1", "value": 1.0}),
    ("reward", "POST", "/v1/episodes/ep_1/complete", {}),
    ("reward", "DELETE", "/v1/episodes/ep_1", None),
    ("read observe", "GET", "/v1/episodes/ep_1", None),
    ("read observe", "GET", "/v1/episodes", None),
    ("read observe", "GET", "/v1/groups/grp_1", None),
    ("admin observe", "GET", "/v1/keys", None),
    ("admin observe", "GET", "/v1/policies", None),
    ("admin", "POST", "/v1/keys", {}),
    ("admin", "POST", "/v1/training/pause", None),
)


async def test_a_scope_is_needed(served: Gateway) -> None:
    """Each call is 403 with every scope but its own, and passes authentication with any of its own."""
    scopes = {"infer", "reward", "read", "observe", "admin"}
    having = {s: (await new_key(served, scopes=[s]))["key"] for s in scopes}
    for own, method, path, body in SCOPES:
        for scope in scopes:
            async with bearing(served, having[scope]) as client:
                answer = await client.request(method, path, json=body)
            if scope in own.split():
                assert answer.status_code not in (401, 403), (scope, path)
            else:
                assert answer.status_code == 403, (scope, path)
                assert answer.json()["error"]["code"] == "insufficient_scope"


async def test_a_deleted_key_is_refused_at_once(served: Gateway) -> None:
    """Deleting a key ends its use here although it was remembered a moment ago."""
    key = await new_key(served)
    async with bearing(served, key["key"]) as client:
        before = await client.post(CHAT, json=BODY)
        await served.admin.delete(f"/v1/keys/{key['id']}")
        after = await client.post(CHAT, json=BODY)
    assert (before.status_code, after.status_code) == (200, 401)
    assert (await served.admin.delete(f"/v1/keys/{key['id']}")).status_code == 404


async def test_a_key_is_shown_once(served: Gateway) -> None:
    """In a list of keys each can be identified, and none has its secret."""
    key = await new_key(served, name="ci", scopes=["infer"])
    text = (await served.admin.get("/v1/keys")).text
    assert key["id"] in text
    assert key["key"] not in text


async def test_projects_are_apart(served: Gateway) -> None:
    """A key sees its own project's episodes and no other's."""
    await served.admin.post("/v1/projects", json={"name": "apart"})
    key = await new_key(served, project="apart")
    await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_mine"})
    async with bearing(served, key["key"]) as client:
        assert (await client.get("/v1/episodes/ep_mine")).status_code == 404
        assert (await client.get("/v1/episodes")).json()["data"] == []
    missing = await served.admin.post("/v1/keys", json={"project": "nobody"})
    assert missing.json()["error"]["code"] == "project_not_found"


async def test_an_episode_key_acts_for_its_episode_only(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """With an episode key every call belongs to that episode; naming another is refused, and so is rewarding."""
    opened = (await served.admin.post("/v1/episodes", json={})).json()
    async with bearing(served, opened["api_key"]) as client:
        taken = await client.post(CHAT, json=BODY)
        other = await client.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_other"})
        reward = await client.post(f"/v1/episodes/{opened['id']}/rewards", json={"value": 1.0})
        another = await client.post("/v1/episodes", json={})
    assert taken.headers["x-turngate-episode"] == opened["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (400, "episode_conflict")
    assert (reward.status_code, another.status_code) == (403, 403)


def test_an_episode_key_cannot_be_altered() -> None:
    """A key signs its project, episode and opener: changing one, or signing with another secret, makes it worthless."""
    genuine = read_signed_key(
        signed_key(EPISODE_PREFIX, "p", subject="ep_1", opener_id="key_1", secret="secret")
    )
    assert genuine is not None
    assert (genuine.project, genuine.subject, genuine.opener_id) == ("p", "ep_1", "key_1")
    assert is_genuine(genuine, "secret")
    assert not is_genuine(genuine, "another")
    assert not is_genuine(replace(genuine, subject="ep_2"), "secret")
    assert not is_genuine(replace(genuine, project="q"), "secret")
    assert not is_genuine(replace(genuine, opener_id="key_2"), "secret")


@pytest.mark.parametrize("key", ["tg-ep-", "tg-ep-x", "tg-ep-!!!.???", "tg-ep-é.é"])
async def test_a_mangled_episode_key_is_401(served: Gateway, key: str) -> None:
    """Whatever follows the prefix, a key that does not verify is refused and nothing breaks."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        answer = await client.post(CHAT, json=BODY, headers={"x-api-key": key.encode()})
    assert answer.status_code == 401
