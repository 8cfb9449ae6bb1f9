"""Graders: what an answer is worth, from 0 to 1. Each decorates an agent, or is given to `rollouts` and `evaluate`.

@graders.math()
def agent(episode, row):
    return episode.openai()...

@graders.grader
def short(answer, row):
    return len(answer) < 100
"""

from turngate.graders.grader import GradedAgent, Grader, grader
from turngate.graders.json_schema import json_schema
from turngate.graders.judge import judge
from turngate.graders.mathematics import math
from turngate.graders.text import exact, numeric
from turngate.graders.unit_tests import unit_tests

__all__ = [
    "GradedAgent",
    "Grader",
    "exact",
    "grader",
    "json_schema",
    "judge",
    "math",
    "numeric",
    "unit_tests",
]
