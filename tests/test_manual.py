"""The manual builds, says everything that the code has, and needs no network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic_settings import BaseSettings

from deploy.settings import Settings as CommandSettings
from docs.generate import http
from gateway.api import administration, episodes, health, models, policies, rewards
from gateway.dialects.registry import DIALECTS
from gateway.settings import Settings as GatewaySettings
from rollout.episode.episode_status import DiscardReason
from rollout.settings import SharedSettings
from tests.family_table import ROWS
from trainer.composition.presets import PRESETS
from trainer.settings import Settings as TrainerSettings

ROOT = Path(__file__).parent.parent
CONTROL = (administration, episodes, health, models, policies, rewards)
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/**/*.md")]
GENERATED = {
    "http.md",
    "settings.md",
    "metrics.md",
    "cli.md",
    "algorithms.md",
    "model-families.md",
    "runtimes.md",
}
COMMANDS = (
    "up",
    "down",
    "status",
    "demo",
    "gateway",
    "engine",
    "trainer explain",
    "keys create",
    "eval",
)
# Attributes of elements that a browser fetches when it shows a page.
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built manual; a broken link, anchor or snippet fails here by its name."""
    directory = tmp_path_factory.mktemp("site")
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory],
        cwd=ROOT,
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


class Page(HTMLParser):
    """What a page says in code, and what showing it would fetch."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.codes: set[str] = set()
        self.fetched: list[str] = []
        self._in_code = False
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_code = tag == "code"
        address = dict(attrs).get(FETCHED.get(tag, ""))
        if address and dict(attrs).get("rel") != "canonical":
            self.fetched.append(address)

    def handle_endtag(self, tag: str) -> None:
        self._in_code = self._in_code and tag != "code"

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.codes.add(data)


@pytest.mark.parametrize("kind", [SharedSettings, GatewaySettings, TrainerSettings])
def test_every_setting_of_a_process_is_in_the_reference(
    site: Path, kind: type[SharedSettings]
) -> None:
    """The variable of each field that a process reads has a row."""
    named = {kind.variable(name) for name in kind.model_fields}

    assert named
    assert named - Page(site / "reference/settings.html").codes == set()


def test_every_setting_of_the_command_is_in_the_reference(site: Path) -> None:
    """The same for what `turngate` itself reads."""
    kind: type[BaseSettings] = CommandSettings
    named = {f"TURNGATE_{name.upper()}" for name in kind.model_fields}

    assert named - Page(site / "reference/settings.html").codes == set()


def test_every_call_is_in_the_reference(site: Path) -> None:
    """Each route of the control plane, each model endpoint, and the two that FastAPI does not document."""
    routes = [route for part in CONTROL for route in part.router.routes]
    named = {
        f"{method} {route.path}"
        for route in routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    dialects = {path for make in DIALECTS for path in make().paths}
    named |= {f"POST {path}" for path in dialects} | {"GET /metrics"}

    assert named - Page(site / "reference/http.html").codes == set()
    assert (site / "reference/openapi.json").exists()


def test_every_field_of_a_model_call_has_a_meaning() -> None:
    """Fields and meanings are the same names, so neither can be forgotten."""
    for call in http.MODEL_CALLS.values():
        assert set(call.meanings) == set(call.body.__struct_fields__)  # type: ignore[attr-defined]


def test_every_metric_in_the_dashboard_is_in_the_reference(site: Path) -> None:
    """What the panels draw is exported, so the reference that is read from the registries has it."""
    dashboard = (ROOT / "deploy/observability/grafana/dashboards/turngate.json").read_text()
    drawn = set(re.findall(r"turngate_[a-z_]+", dashboard))
    told = Page(site / "reference/metrics.html").codes
    series = told | {f"{name}_{part}" for name in told for part in ("bucket", "sum", "count")}

    assert len(drawn) > 30
    assert drawn - series == set()


def test_every_algorithm_family_and_command_is_in_the_reference(site: Path) -> None:
    """Presets by name, families by name, commands with their options."""
    algorithms = Page(site / "reference/algorithms.html").codes
    families = (site / "reference/model-families.html").read_text()
    commands = (site / "reference/cli.html").read_text()

    assert set(PRESETS) - algorithms == set()
    assert [row.family for row in ROWS if row.family not in families] == []
    assert [name for name in COMMANDS if f"turngate {name}" not in commands] == []


def test_showing_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures of every page are in the folder."""
    pages = list(site.rglob("*.html"))
    fetched = [address for page in pages for address in Page(page).fetched]

    assert len(pages) > 30
    assert [address for address in fetched if address.startswith(("http:", "https:", "//"))] == []


def test_every_path_in_the_documents_exists() -> None:
    """Files and folders that the manual and the other documents name are there."""
    named = re.compile(r"`((?:gateway|rollout|trainer|deploy|clients|tests|docs)/[\w./-]+)`")
    missing = [
        f"{document.relative_to(ROOT)}: {path}"
        for document in DOCUMENTS
        for path in named.findall(document.read_text())
        if not (ROOT / path).exists()
    ]

    assert missing == []


def test_no_file_cites_a_document_that_is_not_here() -> None:
    """A `.md` that code, configuration or a document names is in the repository, or generated into the manual."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    cited = re.compile(r"(?<![:/\w.-])[\w./-]+\.md\b")
    missing = [
        f"{file}: {document}"
        for file in map(Path, listed.stdout.decode().split())
        if file.suffix in {".py", ".lua", ".md", ".toml", ".yml", ".sh"} or file.name == "Makefile"
        for document in cited.findall((ROOT / file).read_text())
        if not is_here(document, file)
    ]

    assert missing == []


def is_here(document: str, file: Path) -> bool:
    bases = (ROOT, ROOT / file.parent, ROOT / "docs", ROOT / "docs/reference")
    return Path(document).name in GENERATED or any((base / document).exists() for base in bases)


@pytest.mark.parametrize("reason", DiscardReason)
def test_every_way_an_episode_may_end_is_told(reason: DiscardReason) -> None:
    """The life of an episode names each reason to discard it."""
    assert reason.value in (ROOT / "docs/concepts/life-of-an-episode.md").read_text()
