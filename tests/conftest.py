"""What every test may ask for: a real Redis, a model directory and the real SGLang, each made once per run, and gateways."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from deploy.demo.starter.starter import create_untrained
from rollout.tokenizer.tokenizer import Tokenizer
from tests.engines import ADMIN_KEY as ENGINE_KEY
from tests.engines import start_engine
from tests.gateways import Gateway, StartGateway, running_gateway
from tests.profiles import ENVIRONMENT_VARIABLE, UnknownProfile, load_profile
from tests.redis_server import running_redis
from tests.vision_model import create_vision_model

# Measured in CPU seconds, down to about half a minute.
LONGEST_FIRST = (
    "test_demo.py",
    "test_chaos.py",
    "test_megatron_layouts.py",
    "test_stack.py",
    "test_kills.py",
    "test_process.py",
    "test_chat_template.py",
    "test_training.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the profile before test files are imported, and before hypothesis would refuse a name without saying which exist."""
    chosen = config.getoption("--hypothesis-profile") or os.environ.get(ENVIRONMENT_VARIABLE)
    try:
        load_profile(chosen or "ci")
    except UnknownProfile as error:
        raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files start first, so that no worker is left with one at the end; tests that need more are left out."""
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    if hypothesis.settings.get_current_profile_name() != "nightly":
        _leave_out("nightly", config, items)
    if not config.getoption("--runtimes"):
        _leave_out("runtimes", config, items)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtimes", action="store_true", help="run agent runtimes, installed before")


def _leave_out(marker: str, config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker(marker)]
    config.hook.pytest_deselected(items=marked)
    items[:] = [item for item in items if not item.get_closest_marker(marker)]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    # A unix socket's path may hold 107 bytes, which pytest's own temporary directories can exceed.
    with (
        tempfile.TemporaryDirectory(prefix="tg-redis-") as directory,
        running_redis(Path(directory)) as url,
    ):
        yield url


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Qwen3 with the demo's tokenizer and chat template."""
    directory = tmp_path_factory.mktemp("model")
    create_untrained(directory, seed=0)
    return directory


@pytest.fixture(scope="session")
def vision_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Qwen3-VL."""
    return create_vision_model(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Iterator[str]:
    """The URL of a real SGLang that serves `model_dir`."""
    with start_engine(model_dir) as url:
        yield url


@pytest.fixture(scope="session")
def tokenizer(model_dir: Path) -> Tokenizer:
    return Tokenizer.load(model_dir)


@pytest.fixture
def start_gateway(redis_url: str, model_dir: Path, tmp_path: Path) -> StartGateway:
    """Starts gateways of one Redis in front of these engines; settings may be overridden by name."""
    defaults: dict[str, Any] = {
        "redis_url": redis_url,
        "database_url": f"sqlite:///{tmp_path / 'ledger.db'}",
        "weights_dir": tmp_path / "weights",
        "model_dir": model_dir,
        "engine_admin_key": ENGINE_KEY,
    }

    def start(*engines: Any, **overrides: Any) -> AbstractAsyncContextManager[Gateway]:
        urls = tuple(engine if isinstance(engine, str) else engine.url for engine in engines)
        return running_gateway(**(defaults | {"engines": urls} | overrides))

    return start
