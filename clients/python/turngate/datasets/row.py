"""One task of a data set: a question, and the answer that is right."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

QUESTIONS = ("question", "problem", "prompt", "input", "instruction")
ANSWERS = ("answer", "solution", "target", "expected", "expected_answer", "ground_truth", "output")
IDS = ("id", "task_id", "idx")


@dataclass(frozen=True, slots=True)
class Row:
    """`answer` is the final answer alone; the whole record is in `fields`, and `row["tests"]` is one of them."""

    id: str
    question: str
    answer: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)

    def __getitem__(self, name: str) -> object:
        if name not in self.fields:
            raise KeyError(f"row {self.id} has no field {name}; it has {', '.join(self.fields)}")
        return self.fields[name]


def final_answer(text: str) -> str:
    r"""The answer at the end of a worked solution, in the forms that data sets and models use.

    "6 * 7 = <<6*7=42>>42\n#### 42"  ->  "42"
    "so it is \boxed{\frac{1}{2}}."  ->  "\frac{1}{2}"
    "42"                             ->  "42"
    """
    marked = text.rsplit("####", 1)
    if len(marked) == 2:
        return marked[1].strip()
    return boxed(text) or text.strip()


def boxed(text: str) -> str:
    r"""What the last `\boxed{…}` holds, with its braces in balance; empty if there is none."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return ""
    begin, depth = start + len("\\boxed{"), 1
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place].strip()
    return ""


def as_text(value: object) -> str:
    """A field as text: numbers and structures in JSON's spelling."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def without_thousands(text: str) -> str:
    """GSM8K writes 1,234 for 1234."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
