"""What lives as long as the process: built by the factory, closed by the lifespan, handed to whoever needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

from gateway.authentication import Authenticator
from gateway.limits import Limits
from gateway.metrics import Metrics
from gateway.reader import Reader
from gateway.sampler import Sampler
from gateway.settings import Settings
from gateway.stores import Stores
from gateway.turn import Turns
from rollout.engine_control import EngineControl
from rollout.ledger import Ledger
from rollout.pool import Pool
from rollout.store import Store
from rollout.swap import Swap, reconcile
from rollout.template import ChatTemplate
from rollout.tokenizer import Tokenizer

# A swap of a large model takes minutes; the lock outlives it unless its holder died.
RECONCILE_LOCK_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    store: Store  # of the project whose policy the engines serve
    stores: Stores
    ledger: Ledger
    pool: Pool
    turns: Turns
    authenticator: Authenticator
    limits: Limits
    metrics: Metrics


@asynccontextmanager
async def open_services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    """Connect to everything; what was opened is closed, whatever happens."""
    tokenizer = Tokenizer.load(settings.model_dir)
    template = ChatTemplate.load(settings.model_dir, tokenizer)
    reader = Reader.for_template(template.source, settings.tool_format, settings.reasoning_format)
    store = Store.connect(settings.redis_url, project=settings.project)
    try:
        await store.ping()
        async with Ledger.open(settings.database_url) as ledger, _pool(settings, store, tokenizer.vocab_size) as pool:
            yield Services(
                settings=settings,
                store=store,
                stores=Stores(store, settings.project),
                ledger=ledger,
                pool=pool,
                turns=Turns(
                    tokenizer=tokenizer,
                    template=template,
                    reader=reader,
                    sampler=Sampler(pool),
                    metrics=metrics,
                    max_output_tokens=settings.max_output_tokens,
                ),
                authenticator=Authenticator(
                    ledger, admin_key=settings.admin_key.get_secret_value(), project=settings.project
                ),
                limits=Limits(),
                metrics=metrics,
            )
    finally:
        await store.close()


def _pool(settings: Settings, store: Store, vocab_size: int) -> Pool:
    async def recorded_version() -> int | None:
        policy = await store.policy()
        return policy.version if policy is not None else None

    async def bring_up_to_date(engines: list[EngineControl]) -> list[Swap]:
        async with store.lock("swap", lease_seconds=RECONCILE_LOCK_SECONDS) as is_ours:
            if not is_ours:
                return []  # whoever holds it brings all engines up to date
            return await reconcile(engines, recorded=store.policy, lock=nullcontext())

    key = settings.engine_admin_key
    return Pool(
        settings.engines,
        recorded_version=recorded_version,
        reconcile=bring_up_to_date,
        admin_key=key.get_secret_value() if key is not None else None,
        vocab_size=vocab_size,
    )
