"""Tables, and text that must not be read as markup."""

import re
from collections.abc import Iterable, Sequence

CODE = re.compile(r"(`[^`]*`)")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is no border."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(escaped, line))} |" for line in lines)


def escaped(cell: str) -> str:
    """Bars with a backslash, except in code, where Python-Markdown would show it."""
    parts = CODE.split(cell)
    parts[::2] = [text.replace("|", r"\|") for text in parts[::2]]
    return "".join(parts)


def code(value: object) -> str:
    """A value as it is typed; nothing for nothing."""
    return f"`{value}`" if str(value) else ""
