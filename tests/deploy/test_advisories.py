"""No pinned version has a security advisory that the repository's list knows."""

import subprocess
from pathlib import Path

from deploy.setup.advisories import Advisories, Advisory, pinned, write

RECORD = """
id: PYSEC-1
aliases: [CVE-1]
affected:
- package: {ecosystem: PyPI, name: AIOHTTP}
  ranges:
  - {type: GIT, events: [{introduced: "0"}, {fixed: abc}]}
  - {type: ECOSYSTEM, events: [{introduced: "0"}, {fixed: 3.9.2}, {introduced: "3.10"}]}
  versions: ["1.0"]
"""


def test_no_pin_has_a_known_advisory() -> None:
    """The list in the repository, checked without network; what it cannot know is what came after its date."""
    known = Advisories.load()

    assert {"aiohttp", "jinja2", "starlette", "torch", "transformers"} <= pinned().keys()
    assert known.affecting(pinned()) == []


def test_the_check_finds_an_affected_version() -> None:
    """Versions that the list knows as vulnerable are named with their advisory."""
    known = Advisories.load()

    assert known.affecting({"aiohttp": "3.9.1"}) != []
    assert any("PYSEC-2024-26" in line for line in known.affecting({"aiohttp": "3.9.1"}))
    assert known.affecting({"a-package-of-nobody": "1.0"}) == []


def test_the_list_is_written_from_a_clone(tmp_path: Path) -> None:
    """Ranges by version count, those of commits do not; a withdrawn record is left out."""
    folder = tmp_path / "clone" / "vulns" / "aiohttp"
    folder.mkdir(parents=True)
    (folder / "PYSEC-1.yaml").write_text(RECORD)
    (folder / "PYSEC-2.yaml").write_text(f"{RECORD}withdrawn: 2024-01-01T00:00:00Z\n")
    git = ["git", "-C", tmp_path / "clone", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "records"]):
        subprocess.run([*git, *command], check=True)
    written = tmp_path / "advisories.json"

    write(tmp_path / "clone", written)

    known = Advisories.load(written)
    ranges = (("0", "3.9.2"), ("3.10", None))
    assert known.advisories == (Advisory("PYSEC-1", ("CVE-1",), "aiohttp", ranges),)
    affected = [v for v in ("3.9.1", "3.9.2", "3.9.9", "3.10.0") if known.affecting({"aiohttp": v})]
    assert affected == ["3.9.1", "3.10.0"]
