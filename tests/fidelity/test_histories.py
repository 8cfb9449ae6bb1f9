"""What agents do to their history is represented, never repaired: what is kept is shared, what is changed is a branch."""

import asyncio
from typing import Any

import pytest

from rollout.episode.sequences import TokenSequence
from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.agent import NEXT, PRICE, USER, saying
from tests.fidelity.agent import ask as ask_at_length
from tests.fidelity.received import EPISODE, assert_exact
from tests.fidelity.recorder import EngineCall, Recorder
from tests.gateways import Gateway, StartGateway

pytestmark = pytest.mark.engine


async def ask(served: Gateway, messages: list[Any], **body: Any) -> dict[str, Any]:
    """Answers are short here: it is the history that matters."""
    return await ask_at_length(served, messages, **{"max_tokens": 12, **body})


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def common(left: list[int], right: list[int]) -> int:
    """How many ids both start with."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def read(call: EngineCall) -> list[int]:
    """Everything an engine had seen at the end of a call."""
    return call.prompt + call.ids


def rows_end_with(rows: list[TokenSequence], calls: list[EngineCall]) -> bool:
    """Whether the rows are exactly the ways that end with these calls."""
    return sorted(row.tokens.tolist() for row in rows) == sorted(read(call) for call in calls)


async def distinct_tokens(served: Gateway, episode_id: str = EPISODE) -> int:
    """What the store keeps of an episode."""
    turns = await served.store.turns(episode_id)
    return sum(len(turn.context_ids) + turn.num_output_tokens for turn in turns)


async def test_a_prompt_that_changes_per_call_branches_where_it_changes(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 14: with the date in its instructions every call is a branch after the part that is equal, and is counted."""
    messages: list[Any] = [USER]
    for minute in range(3):
        answer = await ask(served, [system(f"Be brief. It is 12:0{minute}."), *messages])
        messages += [answer["message"], NEXT]
    rows = await assert_exact(served, recorder.calls)
    assert rows_end_with(rows, recorder.calls)
    first, *later = recorder.calls
    turns = await served.store.turns(EPISODE)
    for call, turn in zip(later, turns[1:], strict=True):
        shared = len(call.prompt) - len(turn.context_ids)
        assert shared == common(first.prompt, call.prompt)
        assert "Be brief. It is 1" in tokenizer.decode(call.prompt[:shared])
    breaks = await served.metric("turngate_breaks_total")
    assert breaks == {'{class="prompt",client="httpx"}': 2.0}


async def test_tools_that_change_branch_where_the_prompt_shows_them(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 14: a tool that appears on the second call changes the prompt's start, so that little is shared."""
    answer = await ask(served, [USER], tools=[PRICE])
    other = {**PRICE, "function": {**PRICE["function"], "name": "cost"}}
    await ask(served, [USER, answer["message"], NEXT], tools=[PRICE, other])
    rows = await assert_exact(served, recorder.calls)
    assert rows_end_with(rows, recorder.calls)
    assert sum((await served.metric("turngate_breaks_total")).values()) == 1.0


async def test_a_summary_trains_and_what_it_replaces_stays(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 15: compaction is a call that trains like any, and the conversation it starts is a branch."""
    start = [system("You sell fruit."), USER]
    answer = await ask(served, start)
    told = [*start, answer["message"], NEXT]
    answer = await ask(served, told)
    summary = await ask(
        served, [*told, answer["message"], user("Sum up.")], **saying("melon: four")
    )
    await ask(served, [start[0], user(summary["message"]["content"]), NEXT])
    long, short = await assert_exact(served, recorder.calls)
    assert long.tokens.tolist() == read(recorder.calls[2])
    assert short.tokens.tolist() == read(recorder.calls[3])
    assert len(set(long.turns[long.action_mask])) == 3


async def test_a_sliding_window_branches_at_what_it_dropped(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 15: the oldest exchange is dropped at each call; the instructions are shared, every output trains."""
    said: list[Any] = [USER]
    for _ in range(4):
        answer = await ask(served, [system("You sell fruit."), *said[-3:]])
        said += [answer["message"], NEXT]
    rows = await assert_exact(served, recorder.calls)
    assert len(rows) == 3
    assert await distinct_tokens(served) < sum(len(read(call)) for call in recorder.calls)


async def test_agents_and_parallel_calls_share_an_episode(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 16: a planner, three sub-agents of two turns and three continuations at once, all in one episode."""
    plan = await ask(served, [system("Plan."), USER])

    async def sub_agent(topic: str) -> None:
        asked = [system(f"You know {topic}."), user(topic)]
        answer = await ask(served, asked)
        await ask(served, [*asked, answer["message"], NEXT])

    async def go_on(text: str) -> None:
        await ask(served, [system("Plan."), USER, plan["message"], user(text)])

    await asyncio.gather(
        *(sub_agent(topic) for topic in ("melons", "apples", "pears")),
        *(go_on(text) for text in ("First.", "Second.", "Third.")),
    )
    rows = await assert_exact(served, recorder.calls)
    assert len(recorder.calls) == 10
    assert len(rows) == 6
    planned = read(recorder.calls[0])
    shared = [row for row in rows if row.tokens[: len(planned)].tolist() == planned]
    assert len(shared) == 3
    in_plan = [row.action_mask[: len(planned)].any() for row in shared]
    assert sorted(in_plan) == [False, False, True]


async def test_an_edit_branches_where_it_begins(served: Gateway, recorder: Recorder) -> None:
    """Case 19: a rewritten answer shares its prompt and the ids before the edit; both versions stay."""
    said = await ask(served, [USER], **saying("four coins each"))
    answer = await ask(served, [USER, said["message"], NEXT])
    edited = {"role": "assistant", "content": "five coins each"}
    await ask(served, [USER, edited, NEXT])
    first, second, third = recorder.calls
    rows = await assert_exact(served, recorder.calls)
    assert rows_end_with(rows, [second, third])
    assert common(read(first), third.prompt) >= len(first.prompt)
    await ask(served, [USER, said["message"], NEXT, answer["message"], NEXT])
    rows = await assert_exact(served, recorder.calls)
    assert rows_end_with(rows, [third, recorder.calls[3]])


async def test_a_kept_beginning_of_an_edited_answer_still_trains_once(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 19: cut inside an output, its start is in two rows and trains in one, its end trains in its own."""
    said = await ask(served, [USER], max_tokens=20, ignore_eos=True)
    cut = said["message"]["content"][:6]
    await ask(served, [USER, {"role": "assistant", "content": cut}, NEXT])
    rows = await assert_exact(served, recorder.calls)
    assert rows_end_with(rows, recorder.calls)


async def test_an_earlier_user_message_changed(served: Gateway, recorder: Recorder) -> None:
    """Case 19: an edit before an output leaves that output to its own row; nothing of it is prompt of the new one."""
    answer = await ask(served, [USER])
    await ask(served, [user("What does a pear cost?"), answer["message"], NEXT])
    first, second = recorder.calls
    rows = await assert_exact(served, recorder.calls)
    assert rows_end_with(rows, [first, second])
    assert common(first.prompt, second.prompt) < len(first.prompt)


async def test_calls_at_the_same_time_attach_by_what_they_say(
    start_gateway: StartGateway, recorder: Recorder
) -> None:
    """Case 26: conversations of one episode, at once and through two gateways, never continue each other's outputs."""
    async with (
        start_gateway(recorder) as one,
        start_gateway(recorder, project=one.project) as other,
    ):

        async def conversation(topic: str) -> None:
            messages: list[Any] = [user(topic)]
            for gateway in (one, other, one):
                answer = await ask(gateway, messages)
                messages += [answer["message"], NEXT]

        await asyncio.gather(*(conversation(topic) for topic in ("melons", "apples", "pears")))
        rows = await assert_exact(one, recorder.calls)
    assert len(recorder.calls) == 9
    assert len(rows) == 3


async def test_equal_calls_at_the_same_time_are_samples_of_one_prompt(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 26: eight agents that ask the same at once get eight outputs below one prompt, none taken for another."""
    await asyncio.gather(*(ask(served, [USER], user=f"agent {number}") for number in range(8)))
    rows = await assert_exact(served, recorder.calls)
    view = await served.store.episode(EPISODE)
    assert view is not None
    prompt = recorder.calls[0].prompt
    assert len(rows) == 8
    assert view.trie().num_tokens == len(prompt) + sum(len(call.ids) for call in recorder.calls)
