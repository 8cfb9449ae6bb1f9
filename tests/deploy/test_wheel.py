"""The distribution as `pip install turngate` leaves it: the wheel and its dependencies, without any extra."""

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from deploy.setup.lock import closure

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# From the sources of a copy: setuptools leaves a build directory beside them.
SOURCES = (
    "gateway",
    "rollout",
    "trainer",
    "deploy",
    "clients",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in SOURCES), str(sources)], check=True)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run(
        [sys.executable, "-c", build], cwd=sources, stdout=subprocess.DEVNULL, check=True
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh virtual environment that has the wheel and what it depends on, linked from ours."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    for entry in installed_entries():
        (packages / entry.name).symlink_to(entry)
    pip(str(place / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    return place / "bin"


def installed_entries() -> Iterator[Path]:
    """The files and folders of our dependencies in our site-packages, without those of the extras."""
    found = set()
    for pin in closure(PROJECT["dependencies"]):
        package = distribution(pin.partition("==")[0])
        for file in package.files or []:
            if file.parts[0] not in ("..", "__pycache__"):
                found.add(Path(str(package.locate_file(file.parts[0]))))
    yield from found


def pip(python: str, *arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, *arguments, *quiet], check=True
    )


def turngate(
    environment: Path, directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(environment / "turngate"), *arguments],
        cwd=directory,
        env={"PATH": str(environment), "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_wheel_holds_every_package_with_its_types_and_data(wheel: Path) -> None:
    """Each package is marked as typed, and Lua, migrations, templates, pins and dashboards are there."""
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.check_output(
        ["git", "ls-files", *SOURCES[:5], ":!clients/python"], cwd=ROOT, text=True
    )

    assert {f"{package}/py.typed" for package in SOURCES[:5]} <= names
    data = {name for name in tracked.split() if not name.endswith((".sh", ".md", ".in", ".ini"))}
    assert data - names == set()
    assert not any(name.startswith(("clients/python", "turngate/")) for name in names)


def test_the_metadata_says_what_it_is_and_where(wheel: Path) -> None:
    """Classifiers, keywords, a license and addresses are in the wheel, and the changelog has a dated section of its version."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = files.read(name).decode()

    for field in ("Classifier: Typing :: Typed", "Keywords: ", "Project-URL: Changelog", "License"):
        assert field in metadata
    version = PROJECT["version"]
    assert f"\nVersion: {version}\n" in metadata
    assert f"\n## {version} - 20" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "extras"),
    [
        (["up"], "trainer,demo"),
        (["up", "--no-trainer"], "demo"),
        (["up", "--model", "."], "trainer"),
        (["demo", "--steps", "1"], "trainer,demo"),
        (["trainer", "explain"], "trainer"),
        (["eval", "test.jsonl"], "client"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_command_names_the_extra_that_it_lacks(
    environment: Path, tmp_path: Path, arguments: list[str], extras: str
) -> None:
    """One line names packages and remedy, nothing is started, and there is no traceback."""
    outcome = turngate(environment, tmp_path, *arguments)

    assert outcome.returncode == 1
    assert f"pip install 'turngate[{extras}]'" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_extra_works_without_one(environment: Path, tmp_path: Path) -> None:
    """The gateway's package and the command's help load from the wheel alone."""
    loaded = subprocess.run(
        [str(environment / "python"), "-c", "import gateway.app; print(gateway.__file__)"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = turngate(environment, tmp_path, "--help")

    assert str(environment.parent) in loaded.stdout
    assert shown.returncode == 0
    assert "demo" in shown.stdout
