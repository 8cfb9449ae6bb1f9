"""Known security advisories of what we pin, kept in the repository, so that a check needs no network.

    .venv/bin/python -m deploy.setup.advisories          check the pins; exit code 1 names each that is affected
    .venv/bin/python -m deploy.setup.advisories FOLDER    first write the file anew, from a clone of pypa/advisory-database

The file says when and from which commit it was made: what was published later is not in it.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.setup.lock import REQUIREMENTS

FILE = REQUIREMENTS / "advisories.json"
SOURCE = "https://github.com/pypa/advisory-database"


class Advisory(msgspec.Struct, frozen=True):
    """Versions from `introduced` to before `fixed`, or all from it if nothing fixed them, and single `versions`."""

    id: str
    aliases: tuple[str, ...]
    package: str
    ranges: tuple[tuple[str, str | None], ...]
    versions: tuple[str, ...] = ()

    def affects(self, version: str) -> bool:
        found = Version(version)
        return version in self.versions or any(
            Version(introduced) <= found and (fixed is None or found < Version(fixed))
            for introduced, fixed in self.ranges
        )


class Advisories(msgspec.Struct, frozen=True):
    source: str
    commit: str
    date: str
    advisories: tuple[Advisory, ...]

    @classmethod
    def load(cls, file: Path = FILE) -> "Advisories":
        return msgspec.json.decode(file.read_bytes(), type=cls)

    def affecting(self, pins: dict[str, str]) -> list[str]:
        """One line for each pinned version that an advisory names."""
        return [
            f"{each.package} {pins[each.package]}: {each.id} ({', '.join(each.aliases)})"
            for each in self.advisories
            if each.package in pins and each.affects(pins[each.package])
        ]


def main() -> int:
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
    known = Advisories.load()
    sys.stderr.write(
        f"{len(known.advisories)} advisories of what we pin, as known on {known.date}\n"
    )
    affected = known.affecting(pinned())
    sys.stdout.write("".join(f"{line}\n" for line in affected))
    return 1 if affected else 0


def pinned() -> dict[str, str]:
    """The version of each pinned distribution."""
    lines = (
        line.split(";")[0].split("#")[0].strip()
        for file in sorted(REQUIREMENTS.glob("*.txt"))
        for line in file.read_text().splitlines()
    )
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {canonicalize_name(name.partition("[")[0]): version for name, _, version in pairs}


def write(clone: Path, file: Path = FILE) -> None:
    """Keep what the database knows of our pins, without the texts."""
    commit, date = _git(clone, "log", "-1", "--format=%H %cs").split()
    found = [
        advisory
        for name in sorted(pinned())
        for path in _git(clone, "ls-tree", "-r", "--name-only", "HEAD", f"vulns/{name}/").split()
        for advisory in parse(yaml.safe_load(_git(clone, "show", f"HEAD:{path}")))
    ]
    content = Advisories(SOURCE, commit, date, tuple(found))
    file.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def parse(advisory: dict[str, Any]) -> Iterator[Advisory]:
    """A record in OSV's format, one Advisory per package; withdrawn ones are left out."""
    if advisory.get("withdrawn"):
        return
    for affected in advisory.get("affected", ()):
        events = [
            event
            for each in affected.get("ranges", ())
            if each["type"] == "ECOSYSTEM"
            for event in each["events"]
        ]
        yield Advisory(
            advisory["id"],
            tuple(advisory.get("aliases", ())),
            canonicalize_name(affected["package"]["name"]),
            tuple(_ranges(events)),
            () if events else tuple(affected.get("versions", ())),
        )


def _ranges(events: Iterable[dict[str, str]]) -> Iterator[tuple[str, str | None]]:
    introduced: str | None = None
    for event in events:
        if "introduced" in event:
            introduced = event["introduced"]
        elif "fixed" in event and introduced is not None:
            yield introduced, event["fixed"]
            introduced = None
    if introduced is not None:
        yield introduced, None


def _git(clone: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", clone, *arguments], check=True, capture_output=True, text=True
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
