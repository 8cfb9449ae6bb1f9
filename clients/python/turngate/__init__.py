"""Client of Turngate: episodes, rewards, graders, rollouts and evaluation for agents that are being trained."""

from turngate.client import AsyncTurngate, Turngate
from turngate.episode import AsyncEpisode, Episode
from turngate.errors import ApiError, TurngateError
from turngate.records import NewReward

__all__ = [
    "ApiError",
    "AsyncEpisode",
    "AsyncTurngate",
    "Episode",
    "NewReward",
    "Turngate",
    "TurngateError",
]
