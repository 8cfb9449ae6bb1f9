"""The control routes of the gateway that the command line uses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx

from deploy.errors import GatewayBusy, GatewayRefused, NotKnown
from deploy.gateway_api.served_policy import ServedPolicy

TIMEOUT_SECONDS = 10.0
AGENT_SCOPES = ("infer", "reward", "read")
WAITING = ("open", "sealed", "rewarded")
PAGE = 100
BUSY = (429, 502, 503, 504)


class GatewayClient:
    """One key at one gateway; `root` is its address without `/v1`."""

    def __init__(self, root: str, key: str) -> None:
        self._root = root
        self._http = httpx.AsyncClient(
            base_url=root,
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # requests to loopback must not go through a proxy
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def is_ready(self) -> bool:
        try:
            return (await self._http.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    async def accepts_key(self) -> bool:
        """Whether this client's key opens the model endpoints."""
        return (await self._send("GET", "/v1/models")).status_code != httpx.codes.UNAUTHORIZED

    async def policies(self) -> dict[str, Any]:
        return await self._json("GET", "/v1/policies")

    async def served_policy(self) -> ServedPolicy | None:
        """The policy that engines have to serve, None before the first was published."""
        for policy in (await self.policies())["data"]:
            if policy["is_active"]:
                return ServedPolicy(Path(policy["path"]), int(policy["version"]))
        return None

    async def training(self) -> dict[str, Any]:
        return await self._json("GET", "/v1/training")

    async def pause_training(self) -> None:
        """Let no further batch be claimed; episodes still open and seal."""
        await self._json("POST", "/v1/training/pause")

    async def resume_training(self) -> None:
        await self._json("POST", "/v1/training/resume")

    async def live_episodes(self) -> list[str]:
        """Ids of the episodes that are neither claimed nor settled."""
        return [id_ for status in WAITING for id_ in await self._episodes(status)]

    async def episode(self, episode_id: str) -> dict[str, Any]:
        """Status, turns and rewards."""
        return await self._json("GET", f"/v1/episodes/{quote(episode_id, safe='')}")

    async def episode_view(self, episode_id: str, view: str) -> list[dict[str, Any]]:
        """The spans or sequences of an episode whose tokens are still there."""
        path = f"/v1/episodes/{quote(episode_id, safe='')}?view={view}"
        data = (await self._json("GET", path))["data"]
        assert isinstance(data, list)
        return data

    async def list_episodes(self, **filters: str | int) -> dict[str, Any]:
        """One page, newest first."""
        return await self._json("GET", f"/v1/episodes?{urlencode(filters)}")

    async def open_episode(self, body: dict[str, object], *, retry_key: str) -> dict[str, Any]:
        """Open an episode; a repeat with the same key gets the same one."""
        return await self._json("POST", "/v1/episodes", body, retry_key=retry_key)

    async def reward(self, episode_id: str, body: dict[str, object]) -> dict[str, Any]:
        return await self._json("POST", f"/v1/episodes/{quote(episode_id, safe='')}/rewards", body)

    async def complete(self, episode_id: str, status: str) -> dict[str, Any]:
        path = f"/v1/episodes/{quote(episode_id, safe='')}/complete"
        return await self._json("POST", path, {"status": status})

    async def delete_episode(self, episode_id: str) -> None:
        await self._json("DELETE", f"/v1/episodes/{episode_id}")

    async def keys(self) -> dict[str, Any]:
        return await self._json("GET", "/v1/keys")

    async def create_key(
        self,
        project: str | None,
        *,
        name: str,
        scopes: tuple[str, ...] = AGENT_SCOPES,
        bounds: Mapping[str, int | None] | None = None,
    ) -> dict[str, Any]:
        """Make a key for a project, or for that of this client's key; `bounds` are its expiry and limits by their fields."""
        given = {"project": project, **(bounds or {})}
        body: dict[str, object] = {"name": name, "scopes": list(scopes)}
        body |= {field: value for field, value in given.items() if value is not None}
        return await self._json("POST", "/v1/keys", body)

    async def delete_key(self, key_id: str) -> dict[str, Any]:
        return await self._json("DELETE", f"/v1/keys/{key_id}")

    async def _episodes(self, status: str) -> list[str]:
        found: list[str] = []
        has_more = True
        while has_more:
            after = {"after": found[-1]} if found else {}
            page = await self.list_episodes(status=status, limit=PAGE, **after)
            found += [episode["id"] for episode in page["data"]]
            has_more = page["has_more"]
        return found

    async def _json(
        self, method: str, path: str, body: object = None, *, retry_key: str = ""
    ) -> dict[str, Any]:
        reply = await self._send(method, path, body, retry_key=retry_key)
        if reply.is_error:
            message = f"{method} {path}: {reply.status_code} {_message(reply)}"
            if reply.status_code in BUSY:
                raise GatewayBusy(message, retry_after=_seconds(reply))
            raise (NotKnown if reply.status_code == httpx.codes.NOT_FOUND else GatewayRefused)(
                message
            )
        content = reply.json() if reply.content else {}
        assert isinstance(content, dict)
        return content

    async def _send(
        self, method: str, path: str, body: object = None, *, retry_key: str = ""
    ) -> httpx.Response:
        headers = {"idempotency-key": retry_key} if retry_key else {}
        try:
            return await self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise GatewayBusy(
                f"cannot reach the gateway at {self._root}: {error!r}; `turngate status` tells whether it runs"
            ) from error


def _seconds(reply: httpx.Response) -> float:
    given = reply.headers.get("retry-after", "")
    return float(given) if given.isdigit() else 1.0


def _message(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return reply.text
