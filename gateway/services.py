"""The objects that live as long as the process: opened together, closed in reverse order."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from gateway.access.authentication import Authenticator
from gateway.access.rate_limits import Limits
from gateway.attach.attacher import Attacher
from gateway.attach.episode_histories import EpisodeHistories
from gateway.dialects.registry import Dialects
from gateway.families.model_facts import ModelFacts
from gateway.families.model_family import ModelFamily
from gateway.families.model_files import ModelFiles, ReadModel
from gateway.families.registry import FAMILIES, family_of, output_reader
from gateway.metrics import Metrics
from gateway.outage import until_available
from gateway.parsing.output_reader import OutputReader
from gateway.project_stores import Stores
from gateway.settings import Settings
from gateway.turn.image_sizes import Images
from gateway.turn.large_calls import LargeCalls
from gateway.turn.planner import Planner
from gateway.turn.sampler import Sampler
from gateway.turn.turns import Turns
from rollout.chat_template.chat_template import ChatTemplate
from rollout.engine.factory import ENGINE_KINDS, EngineFactory, OpenEngine
from rollout.engine.pool import Pool
from rollout.engine.swap import reconcile
from rollout.ledger.ledger import Ledger
from rollout.store.key_changes import KeyChanges
from rollout.store.sharded.sharded_store import open_store
from rollout.store.store import Store
from rollout.store.transitions import Timings
from rollout.tokenizer.tokenizer import Tokenizer
from rollout.tokenizer.vision import Vision

log = logging.getLogger(__name__)

MIB = 1_048_576


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    dialects: Dialects
    tokenizer: Tokenizer
    vision: Vision | None  # None for a model that reads text only
    model: ModelFacts
    store: Store  # of the project whose policy the engines serve
    stores: Stores
    ledger: Ledger
    pool: Pool
    turns: Turns
    large_calls: LargeCalls
    authenticator: Authenticator
    key_changes: KeyChanges
    limits: Limits
    metrics: Metrics


@asynccontextmanager
async def open_services(
    settings: Settings,
    metrics: Metrics,
    *,
    dialects: Dialects,
    families: Sequence[ModelFamily] = FAMILIES,
    engine_kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
    read_model: ReadModel = ModelFiles.read,
) -> AsyncIterator[Services]:
    """Connect to everything; what was opened is closed, also after an error."""
    tokenizer, template, vision = read_model(settings.model_dir)
    reader = output_reader(
        template.source,
        families,
        tool_format=settings.tool_format,
        reasoning_format=settings.reasoning_format,
    )
    model = ModelFacts.of(family_of(template.source, families), template, tokenizer, reader)
    model.log_at_start()
    large_calls = LargeCalls()
    async with AsyncExitStack() as stack:
        timings = Timings(silence=settings.silence_seconds, retention=settings.retention_seconds)
        store = open_store(
            settings.redis_url,
            project=settings.project,
            timings=timings,
            num_shards=settings.store_shards,
        )
        stack.push_async_callback(store.close)
        await until_available(store.prepare, seconds=settings.start_seconds)
        for why in await until_available(store.weaknesses, seconds=settings.start_seconds):
            log.warning("redis may lose acknowledged turns", extra={"why": why})
        ledger = await until_available(
            partial(Ledger.open, settings.database_url), seconds=settings.start_seconds
        )
        stack.push_async_callback(ledger.close)
        await until_available(
            partial(ledger.project, settings.project), seconds=settings.start_seconds
        )
        key_changes, stores = store.key_changes(), Stores(store)
        factory = EngineFactory.for_settings(
            settings,
            vocab_size=tokenizer.vocab_size,
            stream_window_seconds=settings.stream_window_ms / 1000,
            kinds=engine_kinds,
        )
        pool = await stack.enter_async_context(
            Pool(
                settings.engines,
                factory=factory,
                recorded=store.served_model,
                reconcile=partial(reconcile, store=store),
            )
        )
        turns = _turns(
            settings,
            tokenizer,
            template,
            reader,
            pool=pool,
            vision=vision,
            metrics=metrics,
            large_calls=large_calls,
        )
        stack.push_async_callback(turns.close)
        yield Services(
            settings=settings,
            dialects=dialects,
            tokenizer=tokenizer,
            vision=vision,
            model=model,
            store=store,
            stores=stores,
            ledger=ledger,
            pool=pool,
            turns=turns,
            large_calls=large_calls,
            authenticator=Authenticator(
                ledger, key_changes, root_key=settings.admin_key, project=settings.project
            ),
            key_changes=key_changes,
            limits=Limits(stores.of),
            metrics=metrics,
        )


def _turns(
    settings: Settings,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    reader: OutputReader,
    *,
    pool: Pool,
    vision: Vision | None,
    metrics: Metrics,
    large_calls: LargeCalls,
) -> Turns:
    return Turns(
        tokenizer=tokenizer,
        reader=reader,
        images=Images(vision, pool),
        attacher=Attacher(tokenizer, template, reader, vision),
        histories=EpisodeHistories(
            settings.history_memory_mib * MIB, count_read=metrics.history_turns_read.inc
        ),
        planner=Planner(
            tokenizer,
            pool.capabilities,
            reader=reader,
            max_output_tokens=settings.max_output_tokens,
            max_call_tokens=settings.max_call_tokens,
            flagged_tokens=settings.flagged_tokens,
        ),
        sampler=Sampler(pool),
        large_calls=large_calls,
        metrics=metrics,
    )
