"""Client of Turngate: episodes, rewards, graders, rollouts and evaluation for agents that are being trained."""

from turngate import graders
from turngate.client import AsyncTurngate, Turngate
from turngate.datasets import Row, load_rows
from turngate.episode import AsyncEpisode, Episode
from turngate.errors import ApiError, TurngateError
from turngate.graders import grader
from turngate.records import NewReward
from turngate.rollouts import (
    Attempt,
    EvaluationResult,
    Table,
    evaluate,
    evaluate_async,
    rollouts,
    rollouts_async,
)

__all__ = [
    "ApiError",
    "AsyncEpisode",
    "AsyncTurngate",
    "Attempt",
    "Episode",
    "EvaluationResult",
    "NewReward",
    "Row",
    "Table",
    "Turngate",
    "TurngateError",
    "evaluate",
    "evaluate_async",
    "grader",
    "graders",
    "load_rows",
    "rollouts",
    "rollouts_async",
]
