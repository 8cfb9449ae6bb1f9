"""Short ways to open an episode over HTTP and to take one turn in it."""

from typing import Any

from tests.gateways import Gateway

CHAT = "/v1/chat/completions"


USER: Any = [{"role": "user", "content": "Hi"}]


BODY: Any = {"model": "policy", "messages": USER}


async def open_episode(served: Gateway, **fields: Any) -> dict[str, Any]:
    answer = await served.admin.post("/v1/episodes", json=fields)
    assert answer.status_code == 201, answer.text
    episode: dict[str, Any] = answer.json()
    return episode


async def play(served: Gateway, episode_id: str) -> str:
    """Take one turn; give the completion's id."""
    answer = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": episode_id})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def shown_turns(served: Gateway, episode_id: str) -> list[Any]:
    """The turns as the control plane shows them."""
    turns: list[Any] = (await served.admin.get(f"/v1/episodes/{episode_id}")).json()["turns"]
    return turns
