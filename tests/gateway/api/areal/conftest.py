"""A client that makes the calls of AReaL's scripts, each with the fields and headers that those send."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.gateways import ADMIN_KEY, Gateway

PROMPT = [
    {"role": "system", "content": "You are a helpful math tutor."},
    {"role": "user", "content": "What is 12 * 15 + 3?"},
]


class Script:
    """Their base URL has no `/v1`, and their bodies name the model `default`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def post(self, path: str, key: str, body: Any) -> httpx.Response:
        return await self._http.post(path, headers={"Authorization": f"Bearer {key}"}, json=body)

    async def start(self, api_key: str | None = None, **body: Any) -> httpx.Response:
        return await self.post(
            "/rl/start_session", ADMIN_KEY, {"task_id": "demo-task", "api_key": api_key, **body}
        )

    async def started(self, api_key: str | None = None) -> tuple[str, str]:
        """The session's id and its key."""
        answer = await self.start(api_key)
        assert answer.status_code == 200, answer.text
        assert answer.json().keys() == {"session_id", "api_key"}
        return answer.json()["session_id"], answer.json()["api_key"]

    async def chat(self, key: str, messages: Any = None, **fields: Any) -> httpx.Response:
        body = {"model": "default", "messages": messages or PROMPT, "temperature": 0.7, **fields}
        return await self.post("/chat/completions", key, body)

    async def reward(self, key: str, reward: float, **fields: Any) -> httpx.Response:
        return await self.post("/rl/set_reward", key, {"reward": reward, **fields})

    async def end(self, key: str) -> httpx.Response:
        return await self.post("/rl/end_session", key, {})


@pytest.fixture
async def script(served: Gateway) -> AsyncIterator[Script]:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=30) as http:
        yield Script(http)


@pytest.fixture
async def other_script(other: Gateway) -> AsyncIterator[Script]:
    """The same scripts at another gateway of the project."""
    async with httpx.AsyncClient(base_url=other.url, trust_env=False, timeout=30) as http:
        yield Script(http)
