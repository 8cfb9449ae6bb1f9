"""What the trainer would receive of an episode, held against what a `Recorder` saw the engine sample.

The oracle is one equation: the tokens that train, each with everything before it, are the tokens that were sampled, each
with everything the engine had read and sampled before it. Ids, order, prefix, logprob, version and turn are all in it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rollout.episode.sequences import TokenSequence as Row
from rollout.episode.sequences import linearize
from rollout.episode.turn import TOKEN, Turn
from tests.fidelity.recorder import EngineCall
from tests.gateways import Gateway

EPISODE = "ep_1"


class Sampled(NamedTuple):
    """One token in all that makes its gradient right."""

    turn_id: str
    prefix: bytes
    token: int
    logprob: float
    version: int


async def assert_exact(
    served: Gateway, calls: Iterable[EngineCall], episode_id: str = EPISODE
) -> list[Row]:
    """The episode trains exactly what these calls sampled, each token once; returns its rows."""
    view = await served.store.episode(episode_id)
    assert view is not None
    turns, rows = view.turns, linearize(view.trie(), episode_id)
    await _assert_shown(served, rows, episode_id)
    received = Counter(token for row in rows for token in trained(row, turns))
    sampled = Counter(token for call in calls for token in sampled_by(call))
    assert received == sampled
    return rows


async def assert_one_row(
    served: Gateway, calls: Sequence[EngineCall], episode_id: str = EPISODE
) -> Row:
    """Exact, and every call went on with the ids of all calls before it."""
    (row,) = await assert_exact(served, calls, episode_id)
    for earlier, later in pairwise(calls):
        known = [*earlier.prompt, *earlier.ids]
        assert later.prompt[: len(known)] == known
    return row


def trained(row: Row, turns: Sequence[Turn]) -> Iterator[Sampled]:
    """The tokens of a row under its action mask; the others carry nothing that could train."""
    assert not row.behavior_logprobs[~row.action_mask].any()
    assert (row.versions[~row.action_mask] == -1).all()
    for at in np.flatnonzero(row.action_mask):
        yield Sampled(
            turns[row.turns[at]].id,
            row.tokens[:at].tobytes(),
            int(row.tokens[at]),
            float(row.behavior_logprobs[at]),
            int(row.versions[at]),
        )


def sampled_by(call: EngineCall) -> Iterator[Sampled]:
    """The tokens of a call."""
    read = np.array([*call.prompt, *call.ids], TOKEN)
    for at, (token, logprob, version) in enumerate(
        zip(call.ids, call.logprobs, call.versions, strict=True), start=len(call.prompt)
    ):
        yield Sampled(call.turn_id, read[:at].tobytes(), token, float(np.float32(logprob)), version)


async def _assert_shown(served: Gateway, rows: list[Row], episode_id: str) -> None:
    """`?view=sequences` shows these rows."""
    answer = await served.admin.get(f"/v1/episodes/{episode_id}", params={"view": "sequences"})
    assert answer.status_code == 200, answer.text
    for row, shown in zip(rows, answer.json()["data"], strict=True):
        assert shown["ids"] == row.tokens.tolist()
        assert shown["action_mask"] == row.action_mask.tolist()
        assert shown["behavior_logprobs"] == row.behavior_logprobs.tolist()
        assert shown["versions"] == row.versions.tolist()
        assert shown["turns"] == row.turns.tolist()
