"""Episodes of the client at a real gateway: one table of scenarios, each with both kinds of clients."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.clients.python.kinds import KINDS, Kind, done, inside, opened
from tests.gateways import ADMIN_KEY, Gateway
from turngate import ApiError, NewReward
from turngate.errors import Conflict, NotOpen, PermissionDenied

ASK: dict[str, Any] = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
Scenario = Callable[[Any], Awaitable[object]]


async def rewarded(client: Any) -> object:
    """One turn through the stock SDK, a reward, and the end of the block."""
    async with inside(client.episode(task="17", group="g", group_size=2)) as episode:
        reply = await done(episode.openai().chat.completions.create, **ASK)
        await done(episode.reward, 1)
    shown = await done(episode.show)
    return (
        reply.choices[0].message.content,
        shown.status,
        shown.outcome,
        shown.task_id,
        shown.group_id,
        shown.reward,
        len(shown.turns),
        shown.policy_versions,
    )


async def failed(client: Any) -> object:
    """An exception leaves the block, and the episode says so."""
    episode = client.episode()
    with suppress(ZeroDivisionError):
        async with inside(episode):
            await done(episode.openai().chat.completions.create, **ASK)
            raise ZeroDivisionError
    return (await done(episode.show)).outcome


async def interrupted(client: Any) -> object:
    """An interruption says nothing about the model."""
    episode = client.episode()
    with suppress(asyncio.CancelledError):
        async with inside(episode):
            raise asyncio.CancelledError
    shown = await done(episode.show)
    return shown.status, shown.disposition


async def through_anthropic(client: Any) -> object:
    """One turn through Anthropic's SDK."""
    async with inside(client.episode()) as episode:
        create = episode.anthropic().messages.create
        reply = await done(create, model=episode.model, max_tokens=20, messages=ASK["messages"])
    return reply.content[0].text, len((await done(episode.show)).turns)


async def chatted(client: Any) -> object:
    """One turn without an SDK."""
    async with inside(client.episode()) as episode:
        said = await done(episode.chat, ASK["messages"], max_tokens=20)
    return said, len((await done(episode.show)).turns)


async def by_turn(client: Any) -> object:
    """Rewards by completion id, by turn id and by name, and a second value for the same place."""
    async with inside(client.episode()) as episode:
        reply = await done(episode.openai().chat.completions.create, **ASK)
        await done(episode.reward, 0.25, completion_id=reply.id)
        turn = (await done(episode.show)).turns[0].id
        await done(episode.reward, 0.5, turn_id=turn, name="style")
        await done(episode.reward, 0.25)
        amended = await done(episode.reward, 0.75)
    recorded = (await done(episode.show)).rewards
    return amended.amended, sorted((r.name, r.value, r.turn_id is not None) for r in recorded)


async def held_out(client: Any) -> object:
    """A held-out episode trains nothing."""
    async with inside(client.episode(held_out=True)) as episode:
        await done(episode.openai().chat.completions.create, **ASK)
        await done(episode.reward, 1.0)
    shown = await done(episode.show)
    return shown.kind, shown.disposition, shown.reward, shown.turns[0].kind


async def many_rewards(client: Any) -> object:
    """A list is recorded whole or not at all."""
    ids = []
    for _ in range(2):
        async with inside(client.episode()) as episode:
            await done(episode.openai().chat.completions.create, **ASK)
        ids.append(episode.id)
    with pytest.raises(ApiError):
        await done(client.rewards, [NewReward(1.0, ids[0]), NewReward(1.0, "ep_never")])
    before = [(await done(client.get_episode, id_)).reward for id_ in ids]
    await done(client.rewards, [NewReward(float(i), id_) for i, id_ in enumerate(ids)])
    return before, [(await done(client.get_episode, id_)).reward for id_ in ids]


async def sequences(client: Any) -> object:
    """The rows that a trainer receives."""
    async with inside(client.episode()) as episode:
        await done(episode.openai().chat.completions.create, **ASK)
        await done(episode.reward, 1.0)
    (row,) = await done(episode.sequences)
    (same,) = await done(client.sequences, episode.id)
    return row == same, sum(row.action_mask) > 0, row.segments[-1].text.startswith("Hello there.")


async def listed(client: Any) -> object:
    """Lists go through pages, and are filtered."""
    for number in range(3):
        async with inside(client.episode(task=f"t{number % 2}")):
            pass
    tasks = [episode.task_id for episode in await done(client.episodes, task="t0")]
    return tasks, len(await done(client.episodes, limit=2))


async def keys(client: Any) -> object:
    """A key is made, listed without its secret, and deleted."""
    made = await done(client.create_key, name="ci", scopes=["infer"], max_concurrent=3)
    known = {key.id: key for key in await done(client.keys)}
    await done(client.delete_key, made.id)
    left = {key.id for key in await done(client.keys)}
    return made.key[:3], made.key in repr(made), known[made.id].max_concurrent, made.id in left


async def operations(client: Any) -> object:
    """Models, policies and training are shown; training pauses and resumes."""
    paused = (await done(client.pause_training)).paused
    resumed = (await done(client.resume_training)).paused
    models = [model.id for model in await done(client.models)]
    return paused, resumed, models, await done(client.policies), (await done(client.training)).step


async def sealed(client: Any) -> object:
    """A refusal carries the gateway's words, its code and the id of the request."""
    async with inside(client.episode()) as episode:
        await done(episode.delete)
    with pytest.raises(Conflict) as refusal:
        await done(episode.reward, 1.0)
    error = refusal.value
    return error.code, error.status, bool(error.request_id), "open a new one" in str(error)


async def scopes(client: Any) -> object:
    """The key of an episode cannot reward it."""
    async with inside(client.episode()) as episode:
        kind: Kind = "blocking" if type(client).__name__ == "Turngate" else "awaiting"
        async with opened(kind, episode.root, episode.api_key) as agent:
            with pytest.raises(PermissionDenied) as refusal:
                await done(agent.rewards, [NewReward(1.0, episode.id)])
    return refusal.value.code


SCENARIOS: dict[Scenario, object] = {
    rewarded: ("Hello there.", "rewarded", "succeeded", "17", "g", 1.0, 1, {0}),
    failed: "failed",
    through_anthropic: ("Hello there.", 1),
    chatted: ("Hello there.", 1),
    interrupted: ("discarded", "aborted"),
    by_turn: (True, [("reward", 0.25, True), ("reward", 0.75, False), ("style", 0.5, True)]),
    held_out: ("side", "evaluated", 1.0, "side"),
    many_rewards: ([None, None], [0.0, 1.0]),
    sequences: (True, True, True),
    listed: (["t0", "t0"], 2),
    keys: ("tg-", False, 3, False),
    operations: (True, False, ["policy", "policy@0"], [], None),
    sealed: ("episode_settled", 409, True, True),
    scopes: "insufficient_scope",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_both_kinds_of_clients_do_the_same(served: Gateway, kind: Kind) -> None:
    """Each scenario has one outcome, whether its operations block or are awaited."""
    async with opened(kind, served.url, ADMIN_KEY) as client:
        outcomes = {play.__name__: await play(client) for play in SCENARIOS}

    assert outcomes == {play.__name__: outcome for play, outcome in SCENARIOS.items()}


async def test_another_process_finds_its_episode_in_the_environment(served: Gateway) -> None:
    """An agent that reads only its environment plays the episode, and no key of the user's own reaches it."""
    agent = "import openai; print(openai.OpenAI().responses and openai.OpenAI().chat.completions.create(model='policy', messages=[{'role': 'user', 'content': 'Hi'}]).choices[0].message.content)"
    secrets = ("TURNGATE_API_KEY", "TURNGATE_GATEWAY_ADMIN_KEY", "TURNGATE_REDIS_URL")
    base = {**os.environ, "ANTHROPIC_API_KEY": "sk-own", **dict.fromkeys(secrets, ADMIN_KEY)}
    async with opened("awaiting", served.url, ADMIN_KEY) as client, client.episode() as episode:
        environment = episode.env(base)
        played = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", agent],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert played.stdout == "Hello there.\n", played.stderr
    assert len((await served.admin.get(f"/v1/episodes/{episode.id}")).json()["turns"]) == 1
    assert "ANTHROPIC_API_KEY" not in environment
    assert ADMIN_KEY not in environment.values()
    assert environment["ANTHROPIC_BASE_URL"] == f"{served.url}/e/{episode.id}"
    assert set(episode.env()) < set(environment)


async def test_an_episode_that_is_not_open_says_so(served: Gateway) -> None:
    """The error says what to write instead."""
    async with opened("awaiting", served.url, ADMIN_KEY) as client:
        with pytest.raises(NotOpen, match="`with` block"):
            client.episode().openai()
