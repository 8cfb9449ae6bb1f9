"""Compares answers with references by `math-verify`, a JSON line for each; run as a script by `mathematics.py`.

Answers 1 or 0 on a line. Whatever a formula does to sympy, the answer is 0.
"""

import json
import sys

from math_verify import parse, verify


def is_equal(answer: str, reference: str) -> bool:
    return bool(verify(of_reference(reference), parse(answer)))


def of_reference(text: str) -> list[object]:
    """A reference is a bare formula; math-verify finds LaTeX inside dollars only."""
    plain = "$" in text or "\\boxed" in text
    found: list[object] = parse(text if plain else f"${text}$")
    return found


def main() -> None:
    is_equal("1", "1")  # the first comparison loads what the others find loaded
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            equal = is_equal(asked["answer"], asked["reference"])
        except Exception:
            equal = False
        sys.stdout.write(f"{int(equal)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
