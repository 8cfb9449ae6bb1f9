"""Tables, and text that must not be read as markup."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in lines)


def code(value: object) -> str:
    """A value as it is typed; nothing for nothing."""
    return f"`{value}`" if str(value) else ""


BAR = r"\|"
