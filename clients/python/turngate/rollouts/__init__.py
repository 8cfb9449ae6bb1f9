"""Runs of many episodes: rollouts that train, and evaluations that hold the policy still."""

from turngate.rollouts.attempt import Attempt
from turngate.rollouts.evaluation import EvaluationResult, evaluate, evaluate_async
from turngate.rollouts.progress import Progress, show_progress
from turngate.rollouts.rollouts import rollouts, rollouts_async
from turngate.rollouts.table import Table

__all__ = [
    "Attempt",
    "EvaluationResult",
    "Progress",
    "Table",
    "evaluate",
    "evaluate_async",
    "rollouts",
    "rollouts_async",
    "show_progress",
]
