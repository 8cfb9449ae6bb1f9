"""The interface of a parser of a call's arguments."""

from typing import Protocol


class Arguments(Protocol):
    """Turns the arguments of one call, in text that arrives in pieces, into the JSON that a client gets."""

    is_closed: bool

    @property
    def is_valid(self) -> bool:
        """Whether the arguments, once closed, follow the format."""

    def feed(self, text: str, *, is_last: bool) -> tuple[str, str]:
        """The JSON of these characters, and the characters that are not used yet."""
