"""Who is refused when there is no room for more episodes, and who is not."""

from tests.gateway.api.playing import BODY, CHAT, open_episode, play
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine


async def test_the_backlog_refuses_new_episodes_only(served: Gateway) -> None:
    """With enough episodes waiting a new one is 429 with retry-after, and a running one goes on."""
    await play(served, "ep_1")
    await served.store.set_training({"max_live_episodes": 1})
    refused = await served.admin.post("/v1/episodes", json={})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    await play(served, "ep_1")


async def test_a_client_that_names_no_episode_is_never_refused(served: Gateway) -> None:
    """A plain call, or one with a runtime's own session, is served while there is no room, and may be rewarded."""
    await served.store.set_training({"max_live_episodes": 1})
    await open_episode(served)
    plain = await served.admin.post(CHAT, json=BODY)
    session = await served.admin.post(CHAT, json=BODY, headers={"X-Session-Id": "s1"})
    named = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_9"})
    assert [plain.status_code, session.status_code, named.status_code] == [200, 200, 429]

    reward = {"completion_id": plain.json()["id"], "value": 1.0, "complete": True}
    assert (await served.admin.post("/v1/rewards", json=reward)).status_code == 200
    assert (await served.store.totals()).groups["ready"] == 1


async def test_a_call_that_names_only_a_group_is_refused_before_it_is_sampled(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Whether there is no room or the group takes no more, no engine works for it."""
    await served.store.set_training({"max_live_episodes": 1})
    episode = await open_episode(served)
    full = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Group": "grp_new"})
    await served.store.set_training({"max_live_episodes": 10})
    group = {"X-Turngate-Group": episode["group_id"]}
    closed = await served.admin.post(CHAT, json=BODY, headers=group)

    codes = [answer.json()["error"]["code"] for answer in (full, closed)]
    assert (full.status_code, closed.status_code) == (429, 409)
    assert codes == ["backlogged", "group_closed"]
    assert scripted.requests == []


async def test_one_key_cannot_stop_the_others(served: Gateway) -> None:
    """A key that asks for all places gets its share; deleting the episode frees them, and training shows who holds what."""
    limits = {"max_live_episodes": 40, "max_live_episodes_per_key": 20}
    await served.store.set_training(limits)
    made = await served.admin.post("/v1/keys", json={"scopes": ["infer", "reward"]})
    hog = made.json()
    headers = {"Authorization": f"Bearer {hog['key']}"}
    statuses = [
        (await served.admin.post("/v1/episodes", json={"group_size": 40}, headers=headers))
        for _ in range(3)
    ]
    assert [answer.status_code for answer in statuses] == [201, 429, 429]
    assert "this key has its share" in statuses[1].json()["error"]["message"]
    await open_episode(served, group_size=20)

    shown = (await served.admin.get("/v1/training")).json()["admission"]
    assert shown | {"by_key": {}} == {
        "limit": 40,
        "key_limit": 20,
        "reserved": 40,
        "claimed": 0,
        "by_key": {},
    }
    assert shown["by_key"][hog["id"]] == 20
    await served.admin.delete(f"/v1/episodes/{statuses[0].json()['id']}", headers=headers)
    assert (await served.store.totals()).reserved_episodes == 20
