"""Seven episodes with all features that credit depends on, and the claims that a trainer gets for them."""

from collections.abc import Sequence
from math import log, sin

from rollout.episode.episode_records import EpisodeView
from rollout.episode.group import Claim
from rollout.episode.reward import RewardPlace, Rewards
from rollout.episode.turn import Anchor, Output, Turn, VersionInterval, pack_tokens
from tests.trainer.bandit import VOCABULARY
from tests.trainer.headers import header
from tests.trainer.papers import Play
from trainer.algorithms import RunningBaseline
from trainer.batch.batch import Batch, prepare
from trainer.composition.composition import Composition

FOREST, LAKE = "53 54", "55"
PLAYS = [
    # Two turns, the first rewarded too; a branching episode; a single turn.
    Play(
        group=0,
        reward=1.0,
        outputs={"a": [100, 101, 102], "b": [103, 104]},
        paths=[["a", "b"]],
        rows=[["a", "b"]],
        earned={"a": 0.25},
        states={"a": FOREST, "b": LAKE},
    ),
    Play(
        group=0,
        reward=0.0,
        outputs={"a": [110, 111], "b": [112, 113, 114, 115], "c": [116, 117]},
        paths=[["a", "b"], ["a", "c"]],
        rows=[["a", "b"], ["c"]],
        earned={"c": 0.5},
        states={"a": FOREST, "b": LAKE, "c": "56 57"},
    ),
    Play(
        group=0,
        reward=0.3,
        outputs={"a": [120]},
        paths=[["a"]],
        rows=[["a"]],
        states={"a": FOREST},
    ),
    # A group that differs in sign, and one that teaches nothing.
    Play(
        group=1,
        reward=2.0,
        outputs={"a": [130, 131], "b": [132]},
        paths=[["a", "b"]],
        rows=[["a", "b"]],
        states={"a": LAKE, "b": LAKE},
    ),
    Play(
        group=1,
        reward=-1.0,
        outputs={"a": [140, 141, 142, 143, 144]},
        paths=[["a"]],
        rows=[["a"]],
        states={"a": LAKE},
    ),
    *(
        Play(
            group=2,
            reward=1.0,
            outputs={"a": [token, token + 1]},
            paths=[["a"]],
            rows=[["a"]],
            states={"a": FOREST},
        )
        for token in (150, 160)
    ),
]


def behavior(token: int) -> float:
    """Logprobs of a behavior policy that is nearly uniform, within a factor of e^0.6."""
    return -log(VOCABULARY) + 0.6 * sin(token)


def claims(plays: Sequence[Play]) -> list[Claim]:
    groups: dict[int, list[EpisodeView]] = {}
    for play in plays:
        members = groups.setdefault(play.group, [])
        members.append(episode(play, f"ep-{play.group}-{len(members)}"))
    return [Claim(f"grp-{group}", tuple(views), 1) for group, views in groups.items()]


def episode(play: Play, name: str) -> EpisodeView:
    parents = {path[i + 1]: path[i] for path in play.paths for i in range(len(path) - 1)}
    turns = []
    for output, tokens in play.outputs.items():
        parent = parents.get(output)
        anchor = None if parent is None else Anchor(parent, 0, len(play.outputs[parent]))
        context = pack_tokens([int(token) for token in play.states[output].split()])
        turns.append(Turn(output, "train", 0, anchor, context, (sampled(tokens),)))
    places = {RewardPlace(None, None, "reward"): play.reward}
    places |= {RewardPlace(turn, None, "reward"): value for turn, value in play.earned.items()}
    return EpisodeView(header(name, 0), tuple(turns), Rewards(places))


def sampled(tokens: Sequence[int]) -> Output:
    return Output.sampled(
        tokens,
        [behavior(token) for token in tokens],
        versions=[VersionInterval(0, 0, len(tokens))],
        finish_reason="stop",
    )


def prepared(parts: Composition, token_budget: int = 16) -> Batch:
    return prepare(
        claims(PLAYS),
        parts=parts,
        baseline=RunningBaseline(),
        training_version=3,  # tokens are of version 0
        token_budget=token_budget,
    )
