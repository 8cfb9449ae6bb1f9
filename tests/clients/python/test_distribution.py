"""The distribution as users install it: light, and clear about what is optional."""

import subprocess
import sys
import tomllib
from pathlib import Path

HOME = Path(__file__).resolve().parents[3] / "clients" / "python"
PROGRAM = """
import sys
import turngate
from turngate import graders
from turngate.errors import PackageMissing
print(sorted(OPTIONAL & {name.partition(".")[0] for name in sys.modules}))
sys.modules.update(dict.fromkeys(OPTIONAL))  # importing them fails from here on
episode = turngate.Turngate("http://127.0.0.1:1", "tg-1").episode_of(
    turngate.episode.EpisodeSpec(), turngate.records.Opened("ep_1", "g", "open", "tg-ep-1")
)
for ask in (episode.openai, episode.anthropic, lambda: graders.json_schema({})):
    try:
        ask()
    except PackageMissing as error:
        print(error)
"""
OPTIONAL = {"openai", "anthropic", "jsonschema", "math_verify", "datasets", "pyarrow", "sympy"}


def test_httpx_is_all_it_needs() -> None:
    """Everything else is an extra, and the version is that of the product."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    product = tomllib.loads((HOME.parents[1] / "pyproject.toml").read_text())["project"]

    assert [name.partition(">")[0] for name in project["dependencies"]] == ["httpx"]
    assert set(project["optional-dependencies"]) == {
        "openai",
        "anthropic",
        "math",
        "jsonschema",
        "datasets",
    }
    assert project["version"] == product["version"]
    assert (HOME / "turngate" / "py.typed").exists()


def test_optional_packages_are_imported_when_asked_for() -> None:
    """Importing the client imports none of them; what needs one names the command that installs it."""
    run = subprocess.run(
        [sys.executable, "-c", f"OPTIONAL = {OPTIONAL!r}\n{PROGRAM}"],
        env={"PYTHONPATH": str(HOME), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.splitlines() == [
        "[]",
        "episode.openai() needs openai: run `pip install 'turngate-client[openai]'`",
        "episode.anthropic() needs anthropic: run `pip install 'turngate-client[anthropic]'`",
        "graders.json_schema needs jsonschema: run `pip install 'turngate-client[jsonschema]'`",
    ]
