"""What lives as long as the process: built by the factory, closed by the lifespan, handed to whoever needs it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from gateway.access.authentication import Authenticator
from gateway.access.rate_limits import Limits
from gateway.attach.attacher import Attacher
from gateway.dialects.registry import Dialects
from gateway.families.model_facts import ModelFacts
from gateway.families.model_family import ModelFamily
from gateway.families.registry import FAMILIES, family_of, output_reader
from gateway.metrics import Metrics
from gateway.parsing.output_reader import OutputReader
from gateway.project_stores import Stores
from gateway.settings import Settings
from gateway.turn.image_sizes import Images
from gateway.turn.planner import Planner
from gateway.turn.sampler import Sampler
from gateway.turn.turns import Turns
from rollout.chat_template.chat_template import ChatTemplate
from rollout.engine.pool import Pool
from rollout.engine.sglang.control_path import EngineControl
from rollout.engine.swap import Swap, reconcile
from rollout.ledger.ledger import Ledger
from rollout.store.store import Store
from rollout.tokenizer.tokenizer import Tokenizer
from rollout.tokenizer.vision import Vision

# A swap of a large model takes minutes; the lock outlives it unless its holder died.
RECONCILE_LOCK_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    dialects: Dialects
    tokenizer: Tokenizer
    model: ModelFacts
    store: Store  # of the project whose policy the engines serve
    stores: Stores
    ledger: Ledger
    pool: Pool
    turns: Turns
    authenticator: Authenticator
    limits: Limits
    metrics: Metrics

    async def reconcile(self, engines: list[EngineControl]) -> list[Swap]:
        """Make engines serve the policy they should, unless somebody is at it already."""
        return await _reconcile(self.store, engines)


@asynccontextmanager
async def open_services(
    settings: Settings,
    metrics: Metrics,
    *,
    dialects: Dialects,
    families: Sequence[ModelFamily] = FAMILIES,
) -> AsyncIterator[Services]:
    """Connect to everything; what was opened is closed, whatever happens."""
    tokenizer = Tokenizer.load(settings.model_dir)
    template = ChatTemplate.load(settings.model_dir, tokenizer)
    reader = output_reader(
        template.source,
        families,
        tool_format=settings.tool_format,
        reasoning_format=settings.reasoning_format,
    )
    model = ModelFacts.of(family_of(template.source, families), template, tokenizer, reader)
    model.log_at_start()
    async with AsyncExitStack() as stack:
        store = Store.connect(settings.redis_url, project=settings.project)
        stack.push_async_callback(store.close)
        await store.ping()
        ledger = await Ledger.open(settings.database_url)
        stack.push_async_callback(ledger.close)
        await ledger.project(settings.project)
        pool = await stack.enter_async_context(_pool(settings, store, tokenizer.vocab_size))
        yield Services(
            settings=settings,
            dialects=dialects,
            tokenizer=tokenizer,
            model=model,
            store=store,
            stores=Stores(store),
            ledger=ledger,
            pool=pool,
            turns=_turns(settings, tokenizer, template, reader, pool=pool, metrics=metrics),
            authenticator=_authenticator(settings, ledger),
            limits=Limits(),
            metrics=metrics,
        )


def _turns(
    settings: Settings,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    reader: OutputReader,
    *,
    pool: Pool,
    metrics: Metrics,
) -> Turns:
    vision = Vision.load(settings.model_dir)
    return Turns(
        tokenizer=tokenizer,
        reader=reader,
        images=Images(vision, pool),
        attacher=Attacher(tokenizer, template, reader, vision),
        planner=Planner(
            tokenizer,
            call_format=reader.call_format,
            max_output_tokens=settings.max_output_tokens,
            flagged_tokens=settings.flagged_tokens,
        ),
        sampler=Sampler(pool),
        metrics=metrics,
    )


def _authenticator(settings: Settings, ledger: Ledger) -> Authenticator:
    admin_key = settings.admin_key.get_secret_value()
    return Authenticator(ledger, admin_key=admin_key, project=settings.project)


def _pool(settings: Settings, store: Store, vocab_size: int) -> Pool:
    async def recorded_version() -> int | None:
        policy = await store.policy()
        return policy.version if policy is not None else None

    key = settings.engine_admin_key
    return Pool(
        settings.engines,
        recorded_version=recorded_version,
        reconcile=partial(_reconcile, store),
        admin_key=key.get_secret_value() if key is not None else None,
        vocab_size=vocab_size,
    )


async def _reconcile(store: Store, engines: list[EngineControl]) -> list[Swap]:
    async with store.lock("swap", lease_seconds=RECONCILE_LOCK_SECONDS) as is_ours:
        if not is_ours:
            return []  # whoever holds it brings all engines up to date
        return await reconcile(engines, recorded=store.policy, lock=nullcontext())
