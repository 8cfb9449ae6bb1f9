"""What the views of an episode show is what training receives and what it gave."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import episode_views
from gateway.api.span_tree import SpanTree
from rollout.episode.episode_records import EpisodeView
from rollout.episode.reward import RewardPlace, Rewards
from rollout.episode.turn import pack_tokens
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.api.test_episodes import BODY, CHAT
from tests.gateways import Gateway
from tests.rollout.play import policy
from tests.rollout.random_episodes import episodes, rewarded
from tests.trainer.headers import header
from trainer.algorithms import RunningBaseline
from trainer.batch.batch import prepare
from trainer.batch.episode_rows import episode_rows
from trainer.composition.composition import Composition


@st.composite
def played(draw: st.DrawFn) -> EpisodeView:
    """A random episode with rewards that name some of its outputs."""
    turns = draw(episodes())
    places = [RewardPlace(turn_id, choice, "reward") for turn_id, choice in draw(rewarded(turns))]
    return EpisodeView(header("ep_1", 0), tuple(turns), Rewards(dict.fromkeys(places, 1.0)))


@given(played())
def test_the_view_is_what_the_trainer_receives(qwen3: Tokenizer, episode: EpisodeView) -> None:
    """Of any episode both get the same rows: ids, mask, logprobs, versions, turns and flags."""
    shown = episode_views.sequences(episode, qwen3).data
    received = [row.sequence for row in episode_rows(episode.trie(), 1.0)]

    assert [row.ids for row in shown] == [s.tokens.tolist() for s in received]
    assert [row.action_mask for row in shown] == [s.action_mask.tolist() for s in received]
    logprobs = [s.behavior_logprobs.tolist() for s in received]
    assert [row.behavior_logprobs for row in shown] == logprobs
    assert [row.versions for row in shown] == [s.versions.tolist() for s in received]
    assert [row.turns for row in shown] == [s.turns.tolist() for s in received]
    assert [row.flags for row in shown] == [s.flags.tolist() for s in received]


@given(played())
def test_the_tree_says_where_each_token_trains(qwen3: Tokenizer, episode: EpisodeView) -> None:
    """Every span's parts lie in the rows of the sequences view at the span's depth, and nothing else trains there."""
    rows = episode_views.sequences(episode, qwen3).data
    depths: dict[str | None, int] = {None: 0}
    num_found = 0
    for span in SpanTree(episode, qwen3).view().data:
        depth = depths[span.id] = depths[span.parent] + span.offset
        covered = [t for _, start, end in span.rows for t in range(start, end)]
        assert covered == [t for t, trains in enumerate(span.action_mask) if trains]
        assert span.trains == bool(covered)
        assert span.orphaned is None or not covered
        assert (span.kind == "sampled") or not covered
        for row, start, end in span.rows:
            here = slice(depth + start, depth + end)
            assert rows[row].ids[here] == span.tokens[start:end]
            assert rows[row].behavior_logprobs[here] == (span.behavior_logprobs or [])[start:end]
            assert all(rows[row].action_mask[here])
            num_found += end - start
    assert num_found == sum(sum(row.action_mask) for row in rows)


@given(played())
def test_no_text_breaks_on_half_a_character(qwen3: Tokenizer, episode: EpisodeView) -> None:
    """The texts of a row's segments, and of spans that continue each other, join to the text of all their tokens."""
    table = dict(zip((1, 2, 3), bytes_of(qwen3, b"\xc3\xa9a"), strict=True))
    spans = SpanTree(relabeled(episode, table), qwen3).view().data
    told: dict[str | None, tuple[list[int], str]] = {None: ([], "")}
    lengths = {span.id: len(span.tokens) for span in spans}
    for span in spans:
        is_continued = any(s.parent == span.id and s.offset == lengths[span.id] for s in spans)
        if span.parent in told and span.offset == lengths.get(span.parent or "", 0):
            tokens, text = told[span.parent]
            told[span.id] = (tokens + span.tokens, text + span.text)
            if not is_continued:
                assert text + span.text == qwen3.decode(tokens + span.tokens)
    assert len(told) > 1
    for row in episode_views.sequences(relabeled(episode, table), qwen3).data:
        assert "".join(segment.text for segment in row.segments) == qwen3.decode(row.ids)
        trained = [s.turn for s in row.segments for _ in range(s.start, s.end)]
        assert [-1 if turn is None else turn for turn in trained] == row.turns


async def test_forced_tokens_are_a_span_of_their_own(served: Gateway) -> None:
    """A prefill hangs below the context it ends and above what was sampled after it."""
    messages: Any = [*BODY["messages"], {"role": "assistant", "content": "I say: "}]
    body = {"messages": messages, "continue_final_message": True}
    await served.admin.post(CHAT, json=body, headers={"X-Turngate-Episode": "ep_1"})

    context, forced, sampled = (await served.admin.get("/v1/episodes/ep_1?view=tokens")).json()[
        "data"
    ]

    assert [s["kind"] for s in (context, forced, sampled)] == ["context", "forced", "sampled"]
    assert context["text"].endswith("<|im_start|>assistant\n")
    assert (forced["text"], forced["parent"]) == ("I say: ", context["id"])
    assert forced["offset"] == len(context["tokens"])
    assert (sampled["parent"], sampled["offset"]) == (forced["id"], len(forced["tokens"]))


async def test_a_trained_episode_shows_the_credit_its_tokens_got(served: Gateway) -> None:
    """After the ack every row has the advantages that the batch used, before it none has any."""
    group = {"X-Turngate-Group": "grp_t", "X-Turngate-Group-Size": "2"}
    for name, value in (("ep_a", 1.0), ("ep_b", 0.0)):
        for seed in range(2):  # the second call starts anew, so that the episode has two rows
            body = BODY | {"seed": seed}
            await served.admin.post(CHAT, json=body, headers={"X-Turngate-Episode": name, **group})
        reward = {"value": value, "complete": True}
        await served.admin.post(f"/v1/episodes/{name}/rewards", json=reward)
    claims = await served.store.claim(
        "trainer", groups=1, version=0, max_staleness=8, lease_seconds=60
    )
    batch = prepare(
        claims,
        parts=Composition(),
        baseline=RunningBaseline(),
        training_version=0,
        token_budget=10_000,
    )
    before = await rows_of(served, "ep_a")

    await served.store.ack("trainer", ["grp_t"], policy(1), credit=batch.credit)

    (microbatch,) = batch.train.microbatches
    used = microbatch.advantages[microbatch.action_mask]
    assert [row["advantages"] for row in before] == [None, None]
    for name, advantage in zip(("ep_a", "ep_b"), batch.advantages, strict=True):
        for row in await rows_of(served, name):
            expected = [advantage if trains else 0.0 for trains in row["action_mask"]]
            assert row["advantages"] == pytest.approx(expected)
            assert set(row["advantages"]) - {0.0} <= set(used.tolist())


def bytes_of(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """The tokens that spell single bytes, half a character each where a character has two."""
    single = {tokenizer.token_bytes(id_): id_ for id_ in range(300)}
    return [single[bytes([byte])] for byte in data]


def relabeled(episode: EpisodeView, table: dict[int, int]) -> EpisodeView:
    """The same episode with other tokens."""

    def renamed(ids: Any) -> bytes:
        return pack_tokens([table[token] for token in ids])

    turns = [
        msgspec.structs.replace(
            turn,
            context=renamed(turn.context_ids),
            outputs=tuple(msgspec.structs.replace(o, tokens=renamed(o.ids)) for o in turn.outputs),
        )
        for turn in episode.turns
    ]
    return msgspec.structs.replace(episode, turns=tuple(turns))


async def rows_of(served: Gateway, episode_id: str) -> list[dict[str, list[float]]]:
    answer = await served.admin.get(f"/v1/episodes/{episode_id}?view=sequences")
    rows: list[dict[str, list[float]]] = answer.json()["data"]
    return rows
