"""Records that contradict themselves can be neither made nor read."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.episode_status import LEGAL_MOVES, EpisodeStatus
from rollout.episode.reward import Reward, RewardPlace, Rewards
from rollout.episode.turn import (
    Anchor,
    MalformedTurn,
    Media,
    Output,
    OutputFlags,
    Turn,
    VersionInterval,
    decode_turn,
    encode_turn,
    pack_tokens,
)
from tests.rollout.turns import output, turn

tokens = st.lists(st.integers(0, 200_000), max_size=40)


@given(context=tokens, sampled=tokens.filter(bool), version=st.integers(0, 10**6))
def test_a_turn_comes_back_as_it_was_stored(
    context: list[int], sampled: list[int], version: int
) -> None:
    """Encoding and decoding keeps every field, logprobs included."""
    stored = turn("t", context, output(sampled, version=version), anchor=Anchor("s", -1, 3))

    read = decode_turn(encode_turn(stored))

    assert read == stored
    assert read.context_ids.tolist() == context
    assert read.outputs[0].ids.tolist() == sampled
    assert read.outputs[0].behavior_logprobs.dtype == np.float32


def test_a_turn_stored_before_there_were_images_is_read() -> None:
    """The list of images is the last field of a record, and may be missing."""
    stored = turn("t")
    fields = msgspec.msgpack.decode(encode_turn(stored))
    assert decode_turn(msgspec.msgpack.encode(fields[:-1])) == stored


@pytest.mark.parametrize("media", [[(2, 2)], [(-1, 2)], [(0, 2), (1, 1)], [(1, 1), (0, 1)]])
def test_images_outside_the_context_or_on_top_of_each_other_are_an_error(
    media: list[tuple[int, int]],
) -> None:
    """Every image has tokens of its own in the three of this context."""
    with pytest.raises(MalformedTurn):
        turn("t", [1, 2, 3], media=[Media("abc", *place) for place in media])


@pytest.mark.parametrize(
    ("logprobs", "versions"),
    [
        ([-1.0], [(1, 0, 2)]),
        ([-1.0, -1.0], [(1, 0, 1)]),
        ([-1.0, -1.0], [(1, 0, 1), (2, 2, 3)]),
        ([-1.0, -1.0], [(1, 0, 0), (2, 0, 2)]),
        ([-1.0, -1.0], []),
    ],
)
def test_lengths_that_disagree_are_an_error(
    logprobs: list[float], versions: list[tuple[int, int, int]]
) -> None:
    """An output with a logprob or a version missing cannot be made."""
    with pytest.raises(MalformedTurn):
        Output.sampled(
            [5, 6],
            logprobs,
            versions=[VersionInterval(*version) for version in versions],
            finish_reason="stop",
        )


def test_stored_bytes_that_contradict_themselves_are_refused() -> None:
    """Reading a turn makes the same checks as writing it."""
    good = encode_turn(turn("t", [1], output([5, 6])))
    logprobs = np.asarray([-1 / 6, -1 / 7], np.float32).tobytes()
    cut = good.replace(b"\xc4\x08" + logprobs, b"\xc4\x04" + logprobs[:4])

    assert cut != good
    with pytest.raises(MalformedTurn):
        decode_turn(cut)


def test_only_outputs_a_client_received_are_trainable() -> None:
    """Abandoned outputs, empty outputs and side turns never train."""
    kept, left = output([5], version=3), output([6], version=2, flags=OutputFlags.ABANDONED)

    assert turn("t", [1], kept, left, output([])).trainable_outputs == [kept]
    assert turn("t", [1], kept, left).versions == (3,)
    assert turn("t", [1], kept, kind="side").trainable_outputs == []


def test_every_status_has_its_moves() -> None:
    """An episode ends trained or discarded; only a restored checkpoint brings a trained one back."""
    reachable = {EpisodeStatus.OPEN}
    for _ in LEGAL_MOVES:
        reachable |= {to for status in reachable for to in LEGAL_MOVES[status]}

    assert set(LEGAL_MOVES) == set(EpisodeStatus) == reachable
    assert not LEGAL_MOVES[EpisodeStatus.DISCARDED]
    assert LEGAL_MOVES[EpisodeStatus.TRAINED] == {EpisodeStatus.REWARDED}
    live = [status for status in EpisodeStatus if status.is_live]
    assert all(EpisodeStatus.DISCARDED in LEGAL_MOVES[status] for status in live)


def test_a_stored_token_costs_few_bytes() -> None:
    """Four bytes per context token, eight per sampled one, and under 256 for the rest of the turn."""
    record = encode_turn(turn("chatcmpl-0123456789abcdef", range(750), output(range(250))))

    assert len(record) - 750 * 4 - 250 * 8 < 256


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_is_a_finite_number(value: float) -> None:
    """A reward of NaN or infinity is refused."""
    with pytest.raises(ValueError, match="finite"):
        Reward(value)


@pytest.mark.parametrize("name", ["", "a|b"])
def test_a_reward_has_a_plain_name(name: str) -> None:
    """The name must not be empty or contain the separator."""
    with pytest.raises(ValueError, match="name"):
        Reward(1.0, name=name)


def test_rewards_of_several_names_add_up_by_weight() -> None:
    """A name without a weight counts once; turn rewards are kept apart from the episode's."""
    rewards = Rewards(
        {
            RewardPlace(None, None, "win"): 1.0,
            RewardPlace(None, None, "style"): 0.5,
            RewardPlace("t1", 1, "win"): 2.0,
            RewardPlace("t1", None, "cost"): -1.0,
        },
        {"win": 2.0, "cost": 0.1},
    )

    assert rewards.episode == 2.5
    assert rewards.turns == {"t1": 3.9}
    assert rewards.total == 6.4
    assert rewards.choices == {("t1", 1)}


def test_an_empty_turn_is_a_turn() -> None:
    """A turn without context and tokens is legal and trains nothing."""
    empty = Turn("t", "train", 0, None, pack_tokens([]), (output([]),))

    assert decode_turn(encode_turn(empty)) == empty
    assert empty.trainable_outputs == []
    assert empty.versions == ()
