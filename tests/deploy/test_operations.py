"""The files that put Turngate on machines, checked without Docker: schemas, linters, queries, names."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from deploy.observability.grafana.dashboard import render
from deploy.observability.grafana.rows.headline import HEADLINE
from deploy.observability.grafana.rows.registry import ROWS
from gateway.metrics import EngineReading, EvaluationReading, Metrics, Snapshot
from gateway.settings import Settings as GatewaySettings
from rollout.store.totals import parse_places, parse_totals
from tests.engines import ADMIN_KEY, PYTHON
from trainer.settings import Settings as TrainerSettings
from trainer.telemetry.report import Report

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DASHBOARD = ROOT / "deploy" / "observability" / "grafana" / "dashboards" / "turngate.json"
PROMETHEUS = ROOT / "deploy" / "observability" / "prometheus" / "prometheus.yml"
ALERTS = ROOT / "deploy" / "observability" / "prometheus" / "alerts.yml"
CHARTS = [*HEADLINE, *(chart for row in ROWS for chart in row.charts)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def queries() -> list[str]:
    """Every expression of the dashboard and of the alerts, with Grafana's window filled in."""
    charts = [expression for chart in CHARTS for expression in chart.queries.values()]
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    alerts = [rule["expr"] for group in groups for rule in group["rules"]]
    return [query.replace("$__rate_interval", "1m") for query in charts + alerts]


def selectors(node: object) -> Iterator[str]:
    """The metric names in a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        assert node.name is not None
        yield node.name
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str):
            yield from selectors(child)
    args = getattr(node, "args", None)
    for child in getattr(args, "args", args) or ():
        yield from selectors(child)


def sample_names(exposition: str) -> set[str]:
    return {s.name for family in text_string_to_metric_families(exposition) for s in family.samples}


def exported_by_gateway() -> set[str]:
    """Sample names of a gateway that has answered one call and sees one engine and the store."""
    metrics = Metrics()
    metrics.observe_request("/v1/chat/completions", 200, 0.1)
    metrics.turns.labels("train").inc()
    metrics.calls_attached.labels("root").inc()
    metrics.breaks.labels("history", "other").inc()
    engine = EngineReading("engine", is_up=True, num_inflight=0, policy_version=0)
    metrics.snapshot = Snapshot(
        engines=(engine,),
        policy_version=0,
        totals=parse_totals({}, ready=0, claimed=0, places=parse_places({})),
        evaluations=(EvaluationReading(0, mean_reward=0.5, episodes=30, is_best=True),),
    )
    return sample_names(metrics.exposition().decode())


def exported_by_trainer() -> set[str]:
    registry = CollectorRegistry()
    report = Report(registry)
    report.swapped("engine", 0.1)
    names = {sample.name for family in registry.collect() for sample in family.samples}
    # A labeled gauge has no sample before its first step; its family is declared all the same.
    return names | {family.name for family in registry.collect()}


def test_compose_file_follows_the_compose_specification() -> None:
    """The compose file is valid under the specification's own schema."""
    schema = ("--builtin-schema", "vendor.compose-spec")
    result = run(sys.executable, "-m", "check_jsonschema", *schema, str(COMPOSE))

    assert result.returncode == 0, result.stdout + result.stderr


def test_compose_file_sets_only_names_that_the_processes_read() -> None:
    """Every TURNGATE_ variable a service gets is a setting of the gateway or the trainer."""
    known = {
        settings.variable(name)
        for settings in (GatewaySettings, TrainerSettings)
        for name in settings.model_fields
    }
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    dockerfile = (ROOT / "deploy" / "images" / "product.Dockerfile").read_text()
    given = {name for service in services.values() for name in service.get("environment", {})}
    given |= set(re.findall(r"(TURNGATE_[A-Z_]+)=", dockerfile))

    unknown = {name for name in given if name.startswith("TURNGATE_")} - known

    assert unknown == set()


def test_compose_file_has_no_default_secret() -> None:
    """A key or password that is not set stops `docker compose`; the loop in the manual makes every one of them."""
    uses = re.findall(r"\$\{TURNGATE_([A-Z_]+_(?:KEY|PASSWORD))([^}]*)\}", COMPOSE.read_text())
    (loop,) = re.findall(r"for name in (.*); do", (ROOT / "docs/operations/compose.md").read_text())

    assert all(rest.startswith(":?") for _, rest in uses)
    assert {f"TURNGATE_{name}" for name, _ in uses} == set(loop.split())


@pytest.mark.parametrize("name", ["trainer-cpu", "trainer-gpu"])
def test_what_a_trainer_writes_outlives_its_container(name: str) -> None:
    """Policies and checkpoints lie in volumes that the trainer may write to."""
    service = yaml.safe_load(COMPOSE.read_text())["services"][name]
    image = (ROOT / "deploy" / "images" / "product.Dockerfile").read_text().split("AS trainer")[1]
    given = dict(re.findall(r"(TURNGATE_[A-Z_]+)=(\S+)", image)) | service["environment"]
    volumes = [volume.rpartition(":")[2] for volume in service["volumes"]]

    assert given["TURNGATE_WEIGHTS_DIR"] in volumes
    assert given["TURNGATE_TRAINER_CHECKPOINT_DIR"] in volumes


def test_engine_and_trainer_do_not_share_a_gpu() -> None:
    """Each would take most of its memory."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    reserved = [
        services[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name in ("engine-gpu", "trainer-gpu")
    ]

    assert reserved == [["${TURNGATE_ENGINE_GPU:-0}"], ["${TURNGATE_TRAINER_GPU:-1}"]]


@pytest.mark.parametrize("name", ["engine-cpu", "engine-gpu"])
def test_an_engine_in_a_container_has_the_key_of_those_who_call_it(name: str) -> None:
    """Gateway, trainer and Prometheus send the key that closes the engine's routes to all others."""
    compose = yaml.safe_load(COMPOSE.read_text())
    services = compose["services"]
    option, variable = services[name]["command"][-2:]

    assert option == "--admin-key-env"
    assert services[name]["environment"][variable] == services["gateway"]["environment"][variable]
    assert (
        services[name]["environment"][variable] == services["trainer-gpu"]["environment"][variable]
    )
    (secret,) = services["prometheus"]["secrets"]
    assert compose["secrets"][secret] == {"environment": variable}
    jobs = {
        job["job_name"]: job for job in yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    }
    assert jobs["engine"]["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}


def test_no_secret_is_on_a_command_line_of_a_container() -> None:
    """Every user of the host can read the arguments of every process."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    arguments = json.dumps([service.get("command") for service in services.values()])

    assert re.findall(r"(?i)[$][{][^}]*(?:KEY|PASSWORD|SECRET|TOKEN)", arguments) == []


@pytest.mark.parametrize("image", sorted((ROOT / "deploy" / "images").glob("*.Dockerfile")))
def test_hadolint_accepts_the_image(image: Path) -> None:
    """No rule of hadolint is broken."""
    result = run(str(Path(sys.executable).parent / "hadolint"), str(image))

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("image", sorted((ROOT / "deploy" / "images").glob("*.Dockerfile")))
def test_image_copies_files_that_exist_and_reach_the_build(image: Path) -> None:
    """Every COPY source is in the tree, and .dockerignore lets it through."""
    copies = re.findall(r"^COPY (?!--from)(.+)$", image.read_text(), re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]

    missing = [source for source in sources if not (ROOT / source).exists()]
    hidden = [s for s in sources if not any(s == a or s.startswith(a + "/") for a in allowed)]

    assert sources
    assert (missing, hidden) == ([], [])


def test_dashboard_file_is_what_the_code_renders() -> None:
    """The committed JSON was regenerated after the last change of the charts."""
    assert json.loads(DASHBOARD.read_text()) == json.loads(render())


def test_dashboard_panels_do_not_overlap() -> None:
    """Each grid cell belongs to one panel at most."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))


def test_every_metric_of_ours_in_a_query_is_exported() -> None:
    """No panel and no alert asks for a metric that no process has."""
    exported = exported_by_gateway() | exported_by_trainer()
    asked = {name for query in queries() for name in selectors(promql_parser.parse(query))}
    ours = {name for name in asked if name.startswith("turngate_")}

    assert len(ours) > 25
    assert ours - exported == set()


@pytest.mark.engine
def test_every_engine_metric_in_a_query_is_exported_by_sglang(engine: str) -> None:
    """The names the dashboard takes from SGLang are those the pinned version exports."""
    scrape = urllib.request.Request(
        f"{engine}/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(scrape, timeout=10) as answer:
        exported = sample_names(answer.read().decode())
    asked = {name for query in queries() for name in selectors(promql_parser.parse(query))}
    theirs = {name for name in asked if name.startswith("sglang:")}

    assert theirs
    assert theirs - exported == set()


@pytest.mark.engine
def test_an_engine_starts_from_the_files_in_its_image(tmp_path: Path) -> None:
    """The image copies few files of ours: with these alone the server reads its command line."""
    image = (ROOT / "deploy" / "images" / "engine.Dockerfile").read_text()
    for copy in re.findall(r"^COPY (rollout.+)$", image, re.MULTILINE):
        *sources, target = copy.split()
        place = tmp_path / (target if len(sources) == 1 and not target.endswith("/") else "rollout")
        for source in sources:
            name = place / Path(source).name if target.endswith("/") else place
            name.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-rT", str(ROOT / source), str(name)], check=True)

    result = subprocess.run(
        [str(PYTHON), "-m", "rollout.engine_server", "--model", "/none", "--port", "0"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "cannot read /none/config.json" in result.stderr
