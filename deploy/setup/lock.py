"""Writes the pins of the product's environment from what is installed in it: `.venv/bin/python -m deploy.setup.lock`.

    gateway.txt   what `pyproject.toml` asks for, and PostgreSQL's driver
    product.txt   that, and the extras of trainer, redis and demo
    dev.txt       that, and dev.in

Each file holds what its names need, all the way down, that the file before it does not. Names no package index.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "deploy" / "requirements"
HEADER = "# Written by deploy/setup/lock.py; do not edit.\n"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    product = [*extras["trainer"], *extras["redis"], *extras["demo"]]
    layers = {
        "gateway.txt": [*project["dependencies"], *extras["postgres"]],
        "product.txt": product,
        "dev.txt": names_in(REQUIREMENTS / "dev.in"),
    }
    locked: set[str] = set()
    below = ""
    for name, wanted in layers.items():
        pins = sorted(pin for pin in closure(wanted) if pin not in locked)
        locked |= set(pins)
        include = f"-r {below}\n" if below else ""
        (REQUIREMENTS / name).write_text(HEADER + include + "".join(f"{pin}\n" for pin in pins))
        below = name
        sys.stderr.write(f"{name}: {len(pins)} pins\n")


def names_in(file: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def closure(wanted: Iterable[str]) -> set[str]:
    """`name==version` of every distribution that these need, through the extras they ask for."""
    pins: set[str] = set()
    todo = [(Requirement(text), "") for text in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted_extra in ("", *sorted(requirement.extras)):
            key = canonicalize_name(requirement.name), wanted_extra
            if key not in seen:
                seen.add(key)
                pins.add(pin(requirement.name))
                todo += [(needed, wanted_extra) for needed in needs(requirement.name)]
    return pins


def pin(name: str) -> str:
    """The public version: a local build such as 2.13.0+cpu is one of several that satisfy it."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        sys.exit(f"{name} is not installed here; install it, then lock again")
    return f"{canonicalize_name(name)}=={Version(installed.version).public}"


def needs(name: str) -> Iterator[Requirement]:
    yield from map(Requirement, distribution(name).requires or [])


if __name__ == "__main__":
    main()
