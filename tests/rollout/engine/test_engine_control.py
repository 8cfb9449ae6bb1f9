"""The control path against the real SGLang."""

import os
import pickle
import shutil
import socket
from pathlib import Path

import pytest

from rollout.engine.errors import EngineRejected, EngineUnreachable
from rollout.engine.generation import GenerateRequest, SamplingParameters
from rollout.served_model import ServedModel
from tests.engines import checksums, connected

pytestmark = pytest.mark.engine


async def test_an_engine_says_what_it_serves(engine: str) -> None:
    """Its weights are a version of our project's policy."""
    async with connected(engine) as control:
        assert await control.served_model() == ServedModel("default", 0)


async def test_an_engine_that_refuses_our_key_is_no_fault_of_the_call(engine: str) -> None:
    """Neither pausing nor sampling works, and the error names the setting."""
    for key in (None, "guess"):
        async with connected(engine, admin_key=key) as stranger:
            with pytest.raises(EngineUnreachable, match="TURNGATE_ENGINE_ADMIN_KEY"):
                await stranger.pause()
            with pytest.raises(EngineUnreachable, match="TURNGATE_ENGINE_ADMIN_KEY"):
                await stranger.generate(GenerateRequest("no-key", [1], SamplingParameters()))


async def test_a_failed_load_keeps_the_old_weights(engine: str, tmp_path: Path) -> None:
    """The engine names the problem and serves on, under the old version."""
    async with connected(engine) as control:
        before = await checksums(engine)
        with pytest.raises(EngineRejected, match="nothing-here"):
            await control.load(
                str(tmp_path / "nothing-here"), ServedModel("default", 99), timeout=60
            )

        assert await checksums(engine) == before
        assert (await control.served_model()).version == 0


async def test_pickled_weights_are_not_loaded(engine: str, model_dir: Path, tmp_path: Path) -> None:
    """Whoever can write into a directory of weights cannot make the engine run their code."""
    opened = tmp_path / "opened"
    directory = tmp_path / "policy"
    directory.mkdir()
    shutil.copy(model_dir / "config.json", directory)
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": Trap(opened)}))

    async with connected(engine) as control:
        with pytest.raises(EngineRejected):
            await control.load(str(directory), ServedModel("default", 98), timeout=60)

        assert (await control.served_model()).version == 0
    assert not opened.exists()


class Trap:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


async def test_a_paused_engine_answers_control_calls(engine: str) -> None:
    """Health must not depend on being able to generate."""
    async with connected(engine) as control:
        await control.pause()
        try:
            assert (await control.served_model(timeout=2)).version == 0
        finally:
            await control.resume()


async def test_an_engine_that_is_gone_is_unreachable() -> None:
    """Nobody listens on the port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with connected(f"http://127.0.0.1:{unused.getsockname()[1]}") as control:
            with pytest.raises(EngineUnreachable, match="/model_info"):
                await control.served_model()
