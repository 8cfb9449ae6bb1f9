"""The whole of Turngate on one machine: which processes, on which ports, with which secrets.

The gateway starts before the engines because it knows which policy they have to serve; it is stopped before them because
it uses them.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.data_directory import DataDirectory, read_json, write_json
from deploy.errors import DataDirectoryInUse, DeployError, GatewayRefused, StartFailed
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.gateway_api.served_policy import ServedPolicy
from deploy.settings import Settings
from deploy.stack import programs, services
from deploy.stack.chosen_ports import choose_ports
from deploy.stack.ports import LOOPBACK, reachable
from deploy.stack.process import ProcessSpec
from deploy.stack.redis_server import redis_spec, redis_url
from deploy.stack.secrets import Secrets
from deploy.stack.services import GatewayListeners, Shared
from deploy.stack.waiting import poll_until

log = logging.getLogger("deploy.stack")

SERVING_SECONDS = 60.0  # from ready processes to a gateway that has seen its engines


@dataclass(frozen=True, slots=True)
class StackOptions:
    model: Path
    host: str = LOOPBACK
    port: int | None = None  # None: the port of the last start, else a free one
    gateways: int = 1  # they share the port
    workers: int | None = None  # of each gateway; None: what the environment says
    engines: int = 1
    with_trainer: bool = True


@dataclass(frozen=True, slots=True)
class Announcement:
    """What `up` prints when the stack serves."""

    base_url: str
    admin_key: str
    project_key: str
    metrics_urls: tuple[str, ...]
    engines: tuple[str, ...]
    redis_url: str
    data_dir: str


class Stack:
    def __init__(
        self,
        directory: DataDirectory,
        settings: Settings,
        options: StackOptions,
    ) -> None:
        self._directory = directory
        self._options = options
        self._secrets = Secrets.load(directory)
        self._redis_fsync = settings.redis_fsync
        self._engine_python = programs.engine_python(settings.engine_python)
        _claim_for_model(directory, options.model)
        self._ports = choose_ports(
            directory,
            host=options.host,
            port=options.port,
            gateways=options.gateways,
            engines=options.engines,
        )
        self._shared = Shared(
            redis_url=redis_url(self._ports.redis, self._secrets.redis_password),
            database_url=settings.database_url or directory.database_url,
            weights_dir=(settings.weights_dir or directory.weights).absolute(),
            model_dir=options.model,
            project=settings.project,
            engines=tuple(f"http://{LOOPBACK}:{port}" for port in self._ports.engines),
            engine_admin_key=self._secrets.engine_admin_key,
        )

    @property
    def gateway_root(self) -> str:
        return address(self._options.host, self._ports.gateway)

    def specs(self) -> list[ProcessSpec]:
        redis = redis_spec(
            self._directory.redis,
            port=self._ports.redis,
            password=self._secrets.redis_password,
            fsync=self._redis_fsync,
        )
        specs = [redis, *self._engines(), *self._gateways()]
        if self._options.with_trainer:
            specs.append(self._trainer())
        return specs

    async def announcement(self) -> Announcement:
        """Wait until the gateway can serve, and give what an agent needs to use it."""
        async with GatewayClient(self.gateway_root, self._secrets.admin_key) as gateway:
            await wait_until_serving(gateway)
        return Announcement(
            base_url=f"{self.gateway_root}/v1",
            admin_key=self._secrets.admin_key,
            project_key=await project_key(
                self._directory, self.gateway_root, self._secrets, self._shared.project
            ),
            metrics_urls=tuple(self._metrics_urls()),
            engines=self._shared.engines,
            redis_url=self._shared.redis_url,
            data_dir=str(self._directory.root),
        )

    async def served_policy(self) -> ServedPolicy:
        """The policy that engines have to serve; the model itself until one is published.

        Also if no gateway can say: the gateways give an engine the current policy before they use it.
        """
        try:
            async with GatewayClient(self.gateway_root, self._secrets.admin_key) as gateway:
                current = await gateway.served_policy()
        except GatewayRefused as refusal:
            log.warning("engine starts with the model", extra={"reason": str(refusal)})
            current = None
        return current or ServedPolicy(self._options.model, version=0)

    def _metrics_urls(self) -> Iterator[str]:
        for port in self._ports.gateway_metrics:
            yield metrics_url(self._options.host, port)
        if self._options.with_trainer:
            yield metrics_url(services.trainer_host(), self._ports.trainer_metrics)

    @property
    def _gateway_names(self) -> list[str]:
        count = self._options.gateways
        return ["gateway"] if count == 1 else [f"gateway-{number}" for number in range(count)]

    def _gateways(self) -> list[ProcessSpec]:
        ports = zip(self._gateway_names, self._ports.gateway_metrics, strict=True)
        return [
            services.gateway_spec(
                name,
                self._shared,
                self._directory.run,
                listeners=GatewayListeners(
                    self._options.host,
                    self._ports.gateway,
                    metrics_port,
                    share_port=self._options.gateways > 1,
                    workers=self._options.workers,
                ),
                admin_key=self._secrets.admin_key,
            )
            for name, metrics_port in ports
        ]

    def _engines(self) -> list[ProcessSpec]:
        return [
            services.engine_spec(
                f"engine-{index}",
                self._directory.run,
                python=self._engine_python,
                port=port,
                admin_key=self._secrets.engine_admin_key,
                policy=self.served_policy,
                after=(self._gateway_names[0],),
            )
            for index, port in enumerate(self._ports.engines)
        ]

    def _trainer(self) -> ProcessSpec:
        return services.trainer_spec(
            self._shared,
            self._directory.run,
            metrics_port=self._ports.trainer_metrics,
            checkpoints=self._directory.checkpoints,
            after=("redis", self._gateway_names[0]),
        )


async def wait_until_serving(gateway: GatewayClient) -> None:
    try:
        async with asyncio.timeout(SERVING_SECONDS):
            await poll_until(gateway.is_ready)
    except TimeoutError:
        raise StartFailed(
            f"the gateway runs but could not serve for {SERVING_SECONDS:g} s; see logs/gateway*.log"
        ) from None


async def project_key(
    directory: DataDirectory, gateway_root: str, secrets: Secrets, project: str
) -> str:
    """The stored key if the gateway still accepts it, else a new one."""
    if secrets.project_key is not None:
        async with GatewayClient(gateway_root, secrets.project_key) as gateway:
            if await gateway.accepts_key():
                return secrets.project_key
    async with GatewayClient(gateway_root, secrets.admin_key) as gateway:
        created = await gateway.create_key(project, name="turngate up")
    key = str(created["key"])
    secrets.with_project_key(key).save(directory)
    return key


def address(host: str, port: int) -> str:
    """A URL that reaches a listener on `host` from this machine."""
    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def metrics_url(host: str, port: int) -> str:
    return f"{address(host, port)}/metrics"


def _claim_for_model(directory: DataDirectory, model: Path) -> None:
    """A directory holds the policies of one model: two models would share version numbers."""
    if not (model / "config.json").exists():
        raise DeployError(f"{model} is not a model directory: it has no config.json")
    remembered = read_json(directory.stack)
    if remembered.get("model", str(model)) != str(model):
        raise DataDirectoryInUse(
            f"{directory.root} holds policies of {remembered['model']}, not of {model}; "
            "give the other model a --data-dir of its own"
        )
    write_json(directory.stack, remembered | {"model": str(model)})
