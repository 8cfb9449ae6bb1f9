"""A task without an engine: one sampled token per episode, judged by a rule; the policy's success is computed exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from random import Random
from uuid import uuid4

import torch

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import Reward
from rollout.episode.turn import Output, Turn, VersionInterval, encode_turn, pack_tokens
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge
from trainer.learner.learner import Learner
from trainer.learner.microbatch import Microbatch, TrainBatch

PROMPT = (5, 6, 7)
VOCABULARY = 441  # of the demo's tokenizer, which tests' models have


def is_even(token: int) -> bool:
    return token % 2 == 0


@dataclass
class Bandit:
    """Plays whole groups into the store with the learner's present policy."""

    store: Store
    bridge: AsyncBridge
    reward: Callable[[int], float]
    groups: int = 4
    group_size: int = 8
    random: Random = field(default_factory=lambda: Random(0))

    def play(self, learner: Learner, version: int) -> list[str]:
        """One batch of episodes, sealed and rewarded; returns their groups."""
        logprobs = token_logprobs(learner)
        weights = logprobs.exp().tolist()
        groups = [f"grp_{uuid4().hex}" for _ in range(self.groups)]
        for group in groups:
            for token in self.random.choices(range(VOCABULARY), weights, k=self.group_size):
                self.bridge.call(self._play_one, group, token, float(logprobs[token]), version)
        return groups

    async def _play_one(self, group: str, token: int, logprob: float, version: int) -> None:
        episode = f"ep_{uuid4().hex}"
        spec = EpisodeSpec(episode, group_id=group, group_size=self.group_size)
        await self.store.begin(spec, since=0)
        turn = one_token_turn(f"chatcmpl-{episode}", token, logprob, version)
        await self.store.commit(episode, turn, encoded=encode_turn(turn))
        await self.store.reward(episode, Reward(self.reward(token)), complete=True)


async def play_uniformly(
    store: Store,
    *,
    groups: int,
    group_size: int,
    version: int = 0,
    last_version: int | None = None,
    reward: Callable[[int], float] = lambda index: index % 2,
) -> None:
    """Whole groups as if a uniform policy had sampled them, every other episode rewarded by default.

    The last member of each may have been sampled by another version.
    """
    for _ in range(groups):
        group = f"grp_{uuid4().hex}"
        for index in range(group_size):
            episode = f"ep_{uuid4().hex}"
            await store.open(EpisodeSpec(episode, group_id=group, group_size=group_size))
            is_last = index == group_size - 1
            by = last_version if is_last and last_version is not None else version
            turn = one_token_turn(f"turn_{episode}", 100 + index, -log(VOCABULARY), by)
            await store.commit(episode, turn, encoded=encode_turn(turn))
            await store.reward(episode, Reward(reward(index)), complete=True)


def one_token_turn(turn_id: str, token: int, logprob: float, version: int) -> Turn:
    output = Output.sampled(
        [token], [logprob], versions=[VersionInterval(version, 0, 1)], finish_reason="stop"
    )
    return Turn(turn_id, "train", 0, None, pack_tokens(PROMPT), (output,))


def token_logprobs(learner: Learner) -> torch.Tensor:
    """The policy's logprob of every token after the prompt, [V]."""
    return _of_last(learner.logprobs(_every_token()))


def value(learner: Learner) -> float:
    """What the critic expects after the prompt, the only state there is."""
    return float(_of_last(learner.values(_every_token()))[0])


def _of_last(answers: Sequence[torch.Tensor]) -> torch.Tensor:
    return answers[0].reshape(VOCABULARY, -1)[:, -1]


def _every_token() -> TrainBatch:
    """A row for each token after the prompt."""
    ids = torch.tensor([[*PROMPT, token] for token in range(VOCABULARY)])
    length = ids.shape[1]
    nothing = torch.zeros(ids.numel())
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    mask[:, -1] = True
    microbatch = Microbatch(
        tokens=ids.reshape(-1),
        cu_seqlens=torch.arange(0, ids.numel() + 1, length, dtype=torch.int32),
        action_mask=mask.reshape(-1),
        advantages=nothing,
        behavior_logprobs=nothing,
        proximal_logprobs=nothing,
        weights=nothing,
    )
    return TrainBatch((microbatch,))


def success(learner: Learner) -> float:
    """Probability that the policy samples an even token."""
    return float(token_logprobs(learner).exp()[::2].sum())


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.export()}


def published(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("v*"))
