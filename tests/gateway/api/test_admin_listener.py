"""The calls of admins on the listener of the metrics."""

import httpx

from tests.gateways import ADMIN_KEY, StartGateway
from tests.scripted_engine import ScriptedEngine


async def test_admin_calls_move_to_the_listener_of_the_metrics(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """With the setting, keys, projects, policies and training are found there only, and still need a key."""
    async with start_gateway(scripted, admin_listener="metrics") as gateway:
        root = gateway.metrics_url.removesuffix("/metrics")
        bearer = {"authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx.AsyncClient(base_url=root, trust_env=False) as operations:
            made = await operations.post("/v1/keys", json={}, headers=bearer)
            paused = await operations.post("/v1/training/pause", headers=bearer)
            unknown = await operations.post("/v1/keys", json={})
            scraped = await operations.get("/metrics")
            episodes = await operations.post("/v1/episodes", json={}, headers=bearer)
        key = {"authorization": f"Bearer {made.json()['key']}"}
        opened = await gateway.admin.post("/v1/episodes", json={}, headers=key)
        gone = [
            await gateway.admin.post("/v1/keys", json={}),
            await gateway.admin.get("/v1/policies"),
            await gateway.admin.post("/v1/training/pause"),
        ]
    assert (made.status_code, paused.status_code, unknown.status_code) == (201, 200, 401)
    assert "turngate_store_up 1.0" in scraped.text
    assert (opened.status_code, episodes.status_code) == (201, 404)
    assert [answer.status_code for answer in gone] == [404, 404, 404]
