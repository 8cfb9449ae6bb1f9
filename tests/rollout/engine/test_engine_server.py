"""Starting, ending and losing the real engine server."""

import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from rollout.engine.engine import Engine
from rollout.engine.errors import EngineUnreachable
from rollout.engine.generation import GenerateRequest, SamplingParameters
from tests.engines import (
    ADMIN_KEY,
    connected,
    engine_command,
    engine_environment,
    engine_process,
    factory,
)

pytestmark = pytest.mark.engine

LONG = SamplingParameters(max_tokens=2000, ignore_eos=True)


def _refused(model_dir: Path, *arguments: str, port: int = 0) -> tuple[int, str]:
    """Exit code and last words of a server that should not start."""
    result = subprocess.run(
        engine_command(model_dir, *arguments, port=port),
        env=engine_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stderr


def _copy(model_dir: Path, to: Path) -> Path:
    shutil.copytree(model_dir, to)
    return to


def _still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=5)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


async def test_a_killed_server_loses_only_what_was_not_read(model_dir: Path) -> None:
    """The reader keeps the tokens so far; no process stays behind; a restart on the same port serves its version."""
    with engine_process(model_dir) as engine:
        family = psutil.Process(engine.process.pid).children(recursive=True)
        received: list[int] = []

        async def read_and_kill(client: Engine) -> None:
            async with aclosing(client.stream(GenerateRequest("r", [1, 2, 3], LONG))) as chunks:
                async for chunk in chunks:
                    if not received:
                        engine.kill()
                    received.extend(chunk.ids)

        client = factory().open(engine.url)
        with pytest.raises(EngineUnreachable) as raised:
            await read_and_kill(client)
        await client.close()
        partial = raised.value.partial
        assert partial is not None
        assert partial.ids == received
        assert partial.versions[-1].end == len(received) == len(partial.logprobs)
        assert _still_running(family) == []

    port = urlsplit(engine.url).port or 0
    with engine_process(model_dir, "--weight-version", "12", port=port) as engine:
        async with connected(engine.url) as control:
            assert (await control.served_model()).version == 12
        family = psutil.Process(engine.process.pid).children(recursive=True)
        scratch = Path(psutil.Process(family[0].pid).environ()["TMPDIR"])
        assert scratch.is_dir()

        assert engine.stop() == 0
        assert _still_running(family) == []
        assert not scratch.exists()
        assert ADMIN_KEY not in engine.log.read_text()
        _bind(port)


def _bind(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))


def test_a_port_in_use_is_refused(model_dir: Path) -> None:
    """At once, and by name."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, words = _refused(model_dir, port=port)

    assert code == 2
    assert f"127.0.0.1:{port}" in words
    assert "Address already in use" in words


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("config.json", None, "cannot read"),
        ("config.json", b"{", "is not JSON"),
        ("config.json", b"[]", "is not a JSON object"),
        ("config.json", b"{}", "names no architecture"),
        ("tokenizer_config.json", None, "cannot read"),
        ("model.safetensors", None, "no *.safetensors file"),
        ("model.safetensors", b"\xff" * 8, "cut short inside its header"),
        ("model.safetensors", b"\x02" + b"\0" * 7 + b"ab", "no safetensors header"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(
    model_dir: Path, tmp_path: Path, file: str, content: bytes | None, complaint: str
) -> None:
    """The file and the defect are named before SGLang starts."""
    copy = _copy(model_dir, tmp_path / "model")
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)

    code, words = _refused(copy)

    assert (code, complaint in words, str(copy) in words) == (2, True, True), words


def test_half_a_weight_file_is_refused(model_dir: Path, tmp_path: Path) -> None:
    """A copy that broke off is recognized by its size."""
    copy = _copy(model_dir, tmp_path / "model")
    weights = copy / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)

    code, words = _refused(copy)

    assert code == 2
    assert "where its header promises" in words


def test_an_unknown_architecture_ends_the_server(model_dir: Path, tmp_path: Path) -> None:
    """SGLang names it; the exit code says that it was SGLang."""
    copy = _copy(model_dir, tmp_path / "model")
    config = json.loads((copy / "config.json").read_bytes())
    config |= {"model_type": "abacus", "architectures": ["AbacusForCausalLM"]}
    (copy / "config.json").write_text(json.dumps(config))

    code, words = _refused(copy)

    assert code == 1
    assert "abacus" in words
    assert "SGLang ended with code" in words


def test_an_engine_that_other_machines_reach_needs_a_key(model_dir: Path) -> None:
    """Its routes would be open to whoever is in the network."""
    code, words = _refused(model_dir, "--host", "0.0.0.0")

    assert code == 2
    assert "--admin-key-env" in words


def test_a_missing_admin_key_is_refused(model_dir: Path) -> None:
    """An engine without the key that was asked for would take control calls from anybody."""
    code, words = _refused(model_dir, "--admin-key-env", "NO_SUCH_VARIABLE")

    assert code == 2
    assert "NO_SUCH_VARIABLE" in words


def test_a_server_told_to_stop_while_starting_stops(model_dir: Path) -> None:
    """A supervisor need not wait for a start to end before ending it."""
    process = subprocess.Popen(
        engine_command(model_dir),
        env=engine_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    parent = psutil.Process(process.pid)
    while not parent.children():
        assert process.poll() is None
    family = parent.children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert process.returncode == 0
    assert _still_running(family) == []
