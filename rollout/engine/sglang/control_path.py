"""The control path to one SGLang server: what it serves, how busy it is, pause, load, resume.

Rare calls, so httpx. SGLang's `weight_version` is a string that means nothing to it; ours is the policy version, and it
becomes one here and in `reply.py` only.
"""

from typing import Any, Self, TypeVar

import httpx
import msgspec

from rollout.engine.errors import EngineGarbled, EngineRejected, EngineTimeout, EngineUnreachable
from rollout.engine.sglang.reply import policy_version

CONTROL_SECONDS = 10.0

T = TypeVar("T")


class ModelInfo(msgspec.Struct, frozen=True):
    """What an engine says it serves."""

    model_path: str
    weight_version: str = ""
    served_model_name: str = ""

    @property
    def policy_version(self) -> int:
        return policy_version(self.weight_version)


class Loads(msgspec.Struct, frozen=True):
    """How busy an engine is, over all of its data-parallel ranks."""

    running: int
    waiting: int
    token_usage: float


class EngineControl:
    """One engine's control routes. Answers EngineError when the engine does not do as told."""

    def __init__(self, url: str, *, admin_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {} if admin_key is None else {"authorization": f"Bearer {admin_key}"}
        # trust_env: a proxy meant for the outside has nothing to say about engines.
        self._client = httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def model_info(self, *, timeout: float = CONTROL_SECONDS) -> ModelInfo:
        """What it serves; answers while paused."""
        return self._decoded(await self._call("GET", "/model_info", timeout=timeout), ModelInfo)

    async def loads(self) -> Loads:
        """How busy it is; requests that arrived during a pause are not counted."""
        reply = self._decoded(await self._call("GET", "/v1/loads"), _LoadsReply)
        return Loads(
            running=sum(rank.num_running_reqs for rank in reply.loads),
            waiting=sum(rank.num_waiting_reqs for rank in reply.loads),
            token_usage=max((rank.token_usage for rank in reply.loads), default=0.0),
        )

    async def pause(self) -> None:
        """Put running requests back in the queue, with the tokens they have, and start none."""
        await self._call("POST", "/pause_generation", {"mode": "retract"})

    async def resume(self) -> None:
        """Go on after a pause."""
        await self._call("POST", "/continue_generation", {})

    async def load(self, path: str, version: int, *, timeout: float) -> None:
        """Replace the weights and drop the cache computed with the old ones; on failure the old ones stay."""
        body = {"model_path": path, "weight_version": str(version), "flush_cache": True}
        await self._call("POST", "/update_weights_from_disk", body, timeout=timeout)

    async def checksums(self) -> list[dict[str, str]]:
        """A hash for every tensor, one mapping per rank."""
        reply = await self._call("POST", "/weights_checker", {"action": "checksum"}, timeout=60.0)
        return [rank.checksums for rank in self._decoded(reply, _ChecksumsReply).ranks]

    async def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout: float = CONTROL_SECONDS,
    ) -> bytes:
        try:
            response = await self._client.request(method, path, json=body, timeout=timeout)
        except httpx.TimeoutException as error:
            raise EngineTimeout(self.url, f"no answer to {path} in {timeout:g} s") from error
        except httpx.HTTPError as error:
            raise EngineUnreachable(self.url, f"{path}: {error}") from error
        if response.is_success:
            return response.content
        why = f"{path}: status {response.status_code}: {response.text[:500]}"
        if response.is_server_error:
            raise EngineUnreachable(self.url, why)
        raise EngineRejected(self.url, why)

    def _decoded(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise EngineGarbled(self.url, f"{error} in {content[:200]!r}") from error


class _RankLoads(msgspec.Struct):
    num_running_reqs: int = 0
    num_waiting_reqs: int = 0
    token_usage: float = 0.0


class _LoadsReply(msgspec.Struct):
    loads: list[_RankLoads]


class _RankChecksums(msgspec.Struct):
    checksums: dict[str, str]


class _ChecksumsReply(msgspec.Struct):
    ranks: list[_RankChecksums]
