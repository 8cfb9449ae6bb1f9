"""The limit of staleness, and what happens to tokens beyond it."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from rollout.episode.group import Claim, JudgedBy

Beyond = Literal["drop", "mask", "down_weight"]


@dataclass(frozen=True, slots=True)
class StalenessRule:
    """Beyond `max_staleness` versions: drop the whole group, mask its stale tokens, or give them less weight."""

    max_staleness: int
    beyond: Beyond = "drop"

    @property
    def is_synchronous(self) -> bool:
        """No episode may begin under a policy older than the one it will be trained against."""
        return self.max_staleness == 0

    @property
    def judged_by(self) -> JudgedBy:
        """The token whose age decides whether the store gives a group to a claim."""
        by: dict[Beyond, JudgedBy] = {"drop": "oldest", "mask": "newest", "down_weight": "none"}
        return by[self.beyond]

    def is_stale(self, claim: Claim, version: int) -> bool:
        """Whether a claimed group must not be trained any more."""
        if self.judged_by == "none":
            return False
        headers = [episode.header for episode in claim.episodes]
        if self.judged_by == "oldest":
            judged = min((h.min_version for h in headers if h.min_version is not None), default=0)
        else:
            judged = max((h.max_version for h in headers if h.max_version is not None), default=0)
        return version - judged > self.max_staleness

    def token_weights(self, staleness: Tensor) -> Tensor:
        """The factor of each token's loss, float32; `staleness` is the training version minus the token's own.

        1 within the limit; beyond it 0 if stale tokens are masked, else 1 / (1 + versions beyond).
        """
        beyond = (staleness - self.max_staleness).clamp(min=0).float()
        return 1 / (1 + beyond) if self.beyond == "down_weight" else (beyond == 0).float()
