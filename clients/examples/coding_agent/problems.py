"""Small programs with a mistake, and the tests that show it: a task says what is wrong, the agent does not see the tests."""

from typing import Any

PROBLEMS: list[dict[str, Any]] = [
    {
        "id": "mean",
        "question": "mean() in program.py fails for an empty list; it should return 0.0 then.",
        "program": "def mean(numbers):\n    return sum(numbers) / len(numbers)\n",
        "tests": ["assert mean([]) == 0.0", "assert mean([1, 2]) == 1.5"],
    },
    {
        "id": "median",
        "question": "median() in program.py is wrong for lists that are not sorted.",
        "program": "def median(numbers):\n    return numbers[len(numbers) // 2]\n",
        "tests": ["assert median([3, 1, 2]) == 2", "assert median([5]) == 5"],
    },
    {
        "id": "leap",
        "question": "is_leap() in program.py calls 1900 a leap year, and 2000 none.",
        "program": "def is_leap(year):\n    return year % 4 == 0 and year != 2000\n",
        "tests": [
            "assert is_leap(2000) and is_leap(2024)",
            "assert not is_leap(1900) and not is_leap(2023)",
        ],
    },
]
