"""The control path to one SGLang server: what it serves, pause, load, resume.

These calls are rare, so they use httpx. SGLang's `weight_version` is a string that means nothing to it; here and in
`answer.py` it becomes the policy version.
"""

import ssl
from functools import cache
from typing import Any

import httpx
import msgspec

from rollout.engine.engine import CONTROL_SECONDS, EngineOptions
from rollout.engine.errors import EngineGarbled, EngineRejected, EngineTimeout, EngineUnreachable
from rollout.engine.sglang.answer import policy_version
from rollout.engine.sglang.engine_key import KEY_REFUSED, WRONG_KEY, authorization
from rollout.served_model import ServedModel


@cache
def _certificates() -> ssl.SSLContext:
    """Reading them takes as long as all else in opening an engine; one context serves every client."""
    return httpx.create_ssl_context(trust_env=False)


class ControlPath:
    """The control half of SglangEngine."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self._project = options.project
        headers = authorization(options.admin_key)
        # trust_env: a proxy for outside traffic must not stand before engines.
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, verify=_certificates(), trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def served_model(self, *, timeout: float = CONTROL_SECONDS) -> ServedModel:
        content = await self._ask("GET", "/model_info", timeout=timeout)
        try:
            info = msgspec.json.decode(content, type=_ModelInfo)
        except msgspec.DecodeError as error:
            raise EngineGarbled(self.url, f"{error} in {content[:200]!r}") from error
        return ServedModel(self._project, policy_version(info.weight_version))

    async def pause(self) -> None:
        """Running requests go back to the queue with the tokens they have."""
        await self._ask("POST", "/pause_generation", {"mode": "retract"})

    async def resume(self) -> None:
        await self._ask("POST", "/continue_generation", {})

    async def load(self, path: str, model: ServedModel, *, timeout: float) -> None:
        assert model.adapter is None, "adapters are not served yet"
        body = {
            "model_path": path,
            "load_format": "safetensors",  # another can be a pickle, which runs code
            "weight_version": str(model.version),
            "flush_cache": True,
        }
        await self._ask("POST", "/update_weights_from_disk", body, timeout=timeout)

    async def _ask(
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
        if response.status_code in KEY_REFUSED:
            raise EngineUnreachable(self.url, WRONG_KEY)
        why = f"{path}: status {response.status_code}: {response.text[:500]}"
        if response.is_server_error:
            raise EngineUnreachable(self.url, why)
        raise EngineRejected(self.url, why)


class _ModelInfo(msgspec.Struct):
    weight_version: str = ""
