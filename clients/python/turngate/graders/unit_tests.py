"""A grader that runs the answer's code against the row's tests."""

import re
from collections.abc import Sequence

from turngate.datasets.row import Row
from turngate.errors import GradingFailed
from turngate.graders.grader import Grader
from turngate.graders.sandbox import Limits, run_tests

DEFAULT_LIMITS = Limits()


def unit_tests(
    *, field: str = "tests", partial: bool = False, limits: Limits = DEFAULT_LIMITS
) -> Grader:
    """1 if the answer's code passes all tests of the row; with `partial`, the share of those that it passes.

    `field` holds Python: one text, or a list of them, each of which passes unless it raises. What the sandbox keeps out, and what
    it does not, is in `sandbox.py`.
    """

    def grade(answer: str, row: Row) -> float:
        tests = row[field]
        listed = [tests] if isinstance(tests, str) else tests
        if (
            not isinstance(listed, Sequence)
            or not all(isinstance(each, str) for each in listed)
            or not listed
        ):
            raise GradingFailed(
                f"field {field} of row {row.id} is neither a test nor a list of tests"
            )
        share = run_tests(code_of(answer), listed, limits=limits).passed / len(listed)
        return share if partial else float(share == 1)

    return Grader(grade, "unit_tests")


def code_of(answer: str) -> str:
    """The last fenced block, or else the whole answer."""
    blocks = re.findall(r"```(?:python|py)?[ \t]*\n(.*?)```", answer, re.DOTALL)
    return blocks[-1] if blocks else answer
