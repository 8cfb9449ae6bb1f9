"""A gateway with a real Qwen3 template and a context that holds a coding agent's tools, and runtimes run to their end."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.connect.report import Report
from deploy.gateway_api.episode import Episode
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateways import Gateway, StartGateway
from tests.rollout.model_directory import byte_level_bpe, write_model_directory
from tests.rollout.shipped_templates import source
from tests.runtimes.scripted_model import ScriptedModel
from tests.runtimes.table import Runtime
from tests.scripted_engine import ScriptedEngine, running_engine

RUN_SECONDS = 180.0  # the slowest takes a minute on a busy machine
KEPT = ("PATH", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    report: Report


class Bench:
    """Runs one runtime against the gateway, with a fresh key and a home of its own."""

    def __init__(
        self, served: Gateway, engine: ScriptedEngine, tokenizer: Tokenizer, home: Path
    ) -> None:
        self._served = served
        self._engine = engine
        self._tokenizer = tokenizer
        self._home = home

    @property
    def root(self) -> str:
        return self._served.url

    async def run(self, runtime: Runtime, root: str) -> Ran:
        self._engine.policy = ScriptedModel(self._tokenizer, runtime.calls).steps
        body = {"name": runtime.name, "scopes": ["infer"]}
        key = (await self._served.admin.post("/v1/keys", json=body)).json()
        code, out, err = await self._ran(runtime, root, key["key"])
        return Ran(code, out, err, await self._report(key["id"]))

    async def _ran(self, runtime: Runtime, root: str, key: str) -> tuple[int, str, str]:
        def fill(text: str) -> str:
            return text.replace("<v1>", f"{root}/v1").replace("<root>", root).replace("<key>", key)

        own = {name: fill(value) for name, value in runtime.environment}
        process = await asyncio.create_subprocess_exec(
            *map(fill, runtime.command),
            cwd=self._home,
            env={
                **{name: os.environ[name] for name in KEPT if name in os.environ},
                "HOME": str(self._home),
                "PYTHONDONTWRITEBYTECODE": "1",
                "AGENT_BASE_URL": f"{root}/v1",
                "AGENT_API_KEY": key,
                **own,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(RUN_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def _report(self, key_id: str) -> Report:
        page = (await self._served.admin.get("/v1/episodes?limit=100")).json()["data"]
        ids = [each["id"] for each in reversed(page) if each["key_id"] == key_id]
        return Report([await self._episode(id_) for id_ in ids], is_by_key=True)

    async def _episode(self, episode_id: str) -> Episode:
        shown: dict[str, Any] = (await self._served.admin.get(f"/v1/episodes/{episode_id}")).json()
        view = await self._served.admin.get(f"/v1/episodes/{episode_id}?view=tokens")
        return Episode.parse({**shown, "tokens": view.json()["data"]})


@pytest.fixture(scope="session")
def wide_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bpe = byte_level_bpe()
    return write_model_directory(
        tmp_path_factory.mktemp("wide"),
        bpe,
        chat_template=source("qwen3"),
        config={
            "eos_token_id": [bpe.token_to_id("<|im_end|>")],
            "max_position_embeddings": 262_144,
        },
        bos="<|endoftext|>",
    )


@pytest.fixture
async def bench(
    start_gateway: StartGateway, wide_dir: Path, tmp_path: Path
) -> AsyncIterator[Bench]:
    home = tmp_path / "home"
    home.mkdir()
    async with running_engine() as engine, start_gateway(engine, model_dir=wide_dir) as served:
        yield Bench(served, engine, Tokenizer.load(wide_dir), home)
