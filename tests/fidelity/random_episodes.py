"""Episodes of random agents, held against what the engine says it sampled.

The engine's own log is the witness: it knows no trie, no template and no store. Whatever the agents did, the tokens that
train over all rows of all episodes are the tokens the engine sampled for turns that somebody waited for, each once.
"""

import asyncio
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from rollout.episode.sequences import TokenSequence as Row
from rollout.episode.sequences import linearize
from rollout.episode.trie import Trie
from rollout.episode.turn import Turn
from rollout.store.store import Store
from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.random_agent import RandomAgent
from tests.fidelity.random_client import Client
from tests.fidelity.random_policy import RandomPolicy
from tests.fidelity.received import Sampled, sampled_by, trained
from tests.fidelity.recorder import EngineCall
from tests.gateways import running_gateway
from tests.rollout.model_directory import byte_level_bpe, write_model_directory
from tests.rollout.shipped_templates import source
from tests.scripted_engine import ScriptedEngine, running_engine

# Calls that ran at the same time cannot know of each other, and words put into a mouth are kept with each call.
STORES_TWICE = {"parallel", "join", "leave", "leave_and_retry", "prefill"}


@dataclass
class Tally:
    """What happened."""

    episodes: int = 0
    turns: int = 0
    tokens_sampled: int = 0
    tokens_due: int = 0  # sampled for a turn that somebody waited for and that trains
    tokens_trained_once: int = 0
    tokens_stored: int = 0
    tokens_distinct: int = 0
    rows: int = 0
    did: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class World:
    """Gateways on one store, and the engine behind them."""

    urls: list[str]
    store: Store
    engine: ScriptedEngine
    policy: RandomPolicy

    async def play(self, num_episodes: int, *, seed: int, num_steps: int, tally: Tally) -> None:
        """Run this number of agents at the same time, and check what they recorded."""
        self.engine.forget()
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True)
        ) as session:
            clients = [Client(url, session) for url in self.urls]
            agents = [
                RandomAgent(
                    f"ep_{seed}_{place}",
                    seed + place,
                    clients=clients,
                    engine=self.engine,
                    policy=self.policy,
                )
                for place in range(num_episodes)
            ]
            async with asyncio.TaskGroup() as tasks:
                for agent in agents:
                    tasks.create_task(agent.run(num_steps))
        calls = [call for call in _calls(self.engine) if call.ids]
        due = Counter(token for call in _due(calls, agents) for token in sampled_by(call))
        received: Counter[Sampled] = Counter()
        for agent in agents:
            received += _received(await self._log(agent), agent, tally)
        assert received == due, _difference(received, due, seed)
        tally.episodes += num_episodes
        tally.tokens_sampled += sum(len(call.ids) for call in calls)
        tally.tokens_due += due.total()
        tally.tokens_trained_once += sum(1 for token in due if received[token] == due[token])

    async def _log(self, agent: RandomAgent) -> list[Turn]:
        """An episode's turns, once those are in it whose client has left: they are kept for audit."""
        async with asyncio.timeout(10):
            while True:
                turns = await self.store.turns(agent.episode_id)
                if agent.left_turns <= {turn.id for turn in turns}:
                    return turns
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running_world(directory: Path, redis_url: str) -> AsyncIterator[World]:
    """Two gateways that serve Qwen3's template from one Redis, while the block runs."""
    bpe = byte_level_bpe()
    config = {"eos_token_id": bpe.token_to_id("<|im_end|>"), "max_position_embeddings": 2**16}
    model_dir = write_model_directory(
        directory / "model", bpe, chat_template=source("qwen3"), config=config
    )
    settings = {
        "redis_url": redis_url,
        "database_url": f"sqlite:///{directory / 'ledger.db'}",
        "weights_dir": directory / "weights",
        "model_dir": model_dir,
        "project": f"random-{secrets.token_hex(4)}",
    }
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running_engine())
        engine.policy = policy = RandomPolicy(Tokenizer.load(model_dir))
        settings["engines"] = (engine.url,)
        gateways = [await stack.enter_async_context(running_gateway(**settings)) for _ in range(2)]
        yield World([each.url for each in gateways], gateways[0].store, engine, policy)


def _calls(engine: ScriptedEngine) -> Iterator[EngineCall]:
    for reply in engine.replies:
        body = reply.body
        yield EngineCall(
            body["rid"],
            body["input_ids"],
            body["sampling_params"],
            reply.ids,
            reply.logprobs,
            reply.versions,
            {"type": "ended"} if reply.has_ended else None,
        )


def _due(calls: Sequence[EngineCall], agents: Iterable[RandomAgent]) -> Iterator[EngineCall]:
    """What must train: all that was sampled to its end, but for side calls and choices passed over."""
    side = {turn for agent in agents for turn in agent.side_turns}
    training = [call for call in calls if call.turn_id not in side]
    choices = defaultdict(list)
    for call in training:
        choices[call.turn_id].append(call)
    for siblings in choices.values():
        taken = [call for call in siblings if len(siblings) == 1 or _is_taken(call, training)]
        yield from (call for call in taken or siblings if call.finish is not None)


def _is_taken(call: EngineCall, calls: Iterable[EngineCall]) -> bool:
    """Whether a later prompt holds the whole of it; choices are too long to agree by chance."""
    whole = [*call.prompt, *call.ids]
    return any(other.prompt[: len(whole)] == whole for other in calls)


def _received(turns: list[Turn], agent: RandomAgent, tally: Tally) -> Counter[Sampled]:
    """What the trainer would receive of an episode, in whatever order its turns were committed."""
    trie = Trie(turns)
    rows = linearize(trie, agent.episode_id)
    received = Counter(token for row in rows for token in trained(row, turns))
    other = _reordered(turns, random.Random(len(turns)))
    again = linearize(Trie(other), agent.episode_id)
    assert [_columns(row) for row in rows] == [_columns(row) for row in again]
    stored = sum(len(t.context_ids) + t.num_output_tokens for t in turns)
    assert stored == trie.num_tokens or agent.did.keys() & STORES_TWICE
    tally.turns += len(turns)
    tally.rows += len(rows)
    tally.tokens_stored += stored
    tally.tokens_distinct += trie.num_tokens
    tally.did += agent.did
    return received


def _columns(row: Row) -> tuple[bytes, ...]:
    """A row without the ordinals of its turns, which do follow the order of commits."""
    columns = (row.tokens, row.action_mask, row.behavior_logprobs, row.versions)
    return tuple(column.tobytes() for column in columns)


def _reordered(turns: list[Turn], rng: random.Random) -> list[Turn]:
    """Another order in which the same commits could have come."""
    waiting, arrived, known = list(turns), [], set()
    while waiting:
        able = [t for t in waiting if t.anchor is None or t.anchor.turn_id in known]
        chosen = rng.choice(able)
        waiting.remove(chosen)
        arrived.append(chosen)
        known.add(chosen.id)
    return arrived


def _difference(received: Counter[Sampled], due: Counter[Sampled], seed: int) -> str:
    missing, extra = due - received, received - due
    turns = sorted({token.turn_id for token in (*missing, *extra)})
    return f"seed {seed}: {missing.total()} missing, {extra.total()} not due, in {turns}"
