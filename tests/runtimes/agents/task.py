"""What the agents of this folder have in common: their two settings, their one tool, and how often a model may call it."""

import os

BASE_URL = os.environ["AGENT_BASE_URL"]
API_KEY = os.environ["AGENT_API_KEY"]
MODEL = "policy"
TASK = "Add the numbers from 1 to 4 with the tool, one call for each sum, then say the total."
MAX_CALLS = 8
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first one
        b: the second one
    """
    return a + b
