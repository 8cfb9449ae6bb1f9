"""The set-up script and the pins it installs."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = sorted((ROOT / "deploy" / "requirements").glob("*.txt"))
# What the script needs besides Python: enough to look for one and to find none.
TOOLS = ("bash", "dirname", "cat", "sha256sum", "cut", "grep", "env")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads, without any environment."""
    for part in ("deploy/setup", "deploy/requirements"):
        shutil.copytree(ROOT / part, tmp_path / part)
    for project in ("pyproject.toml", "clients/python/pyproject.toml"):
        (tmp_path / project).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / project, tmp_path / project)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(checkout / "deploy" / "setup" / "environment.sh")
    environment = {"PATH": str(checkout / "bin"), "HOME": ""}
    return subprocess.run(
        ["bash", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def make_stamped(checkout: Path, stamp: str) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/bin/true")
    (checkout / ".venv" / ".stamp").write_text(stamp)


def stamp_of(checkout: Path) -> str:
    """As the script computes it: over itself and the files that say what is installed."""
    files = "deploy/setup/environment.sh deploy/requirements/gateway.txt deploy/requirements/product.txt"
    files += " deploy/requirements/dev.txt deploy/requirements/dev-nodeps.txt pyproject.toml"
    files += " clients/python/pyproject.toml"
    digest = subprocess.check_output(
        f"cat {files} | sha256sum", shell=True, cwd=checkout, text=True
    )
    return digest.split()[0]


def test_an_environment_with_the_right_stamp_is_left_alone(checkout: Path) -> None:
    """A second set-up is silent and takes no time; one with other pins is not taken for done."""
    make_stamped(checkout, stamp_of(checkout))
    same = run(checkout, "product")
    with (checkout / "deploy" / "requirements" / "product.txt").open("a") as pins:
        pins.write("# another pin\n")
    changed = run(checkout, "product")

    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    assert changed.returncode == 1
    assert "Python 3.11" in changed.stderr


def test_without_python_the_message_says_what_to_install(checkout: Path) -> None:
    """The message names the version, and the variable that points at an interpreter."""
    outcome = run(checkout, "product")

    assert outcome.returncode == 1
    assert "Python 3.11 with its venv module" in outcome.stderr
    assert "PYTHON=" in outcome.stderr


def test_an_unknown_environment_is_refused(checkout: Path) -> None:
    """There are two environments, and a typing error makes none."""
    outcome = run(checkout, "produkt")

    assert outcome.returncode == 2
    assert "neither product nor engine" in outcome.stderr


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_every_package_is_pinned_and_no_index_is_named(file: Path) -> None:
    """The same versions everywhere, from whatever index the machine is set up with."""
    lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    pins = [line for line in lines if line and not line.startswith("-r ")]

    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", pin)] == []


def test_the_pins_satisfy_what_the_project_asks_for() -> None:
    """`pyproject.toml` and the lock cannot drift apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"]]
    for extra in ("trainer", "redis", "postgres", "demo"):
        asked += extras[extra]
    names = ("gateway.txt", "product.txt")
    lines = [
        line
        for name in names
        for line in (ROOT / "deploy" / "requirements" / name).read_text().splitlines()
    ]
    pinned = dict(line.split("==") for line in lines if "==" in line)

    for text in asked:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def test_make_and_ci_run_the_same_tests() -> None:
    """CI does what the README tells a newcomer to do, and nothing else."""
    ci = (ROOT / ".ci" / "run").read_text().splitlines()

    assert ci[-1] == "make test"
    assert "set -euo pipefail" in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
