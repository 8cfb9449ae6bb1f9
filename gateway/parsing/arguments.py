"""What every way of writing a call's arguments gives the call's parser."""

from typing import Protocol


class Arguments(Protocol):
    """Reads the arguments of one call, in text that arrives in pieces, as the JSON a client gets."""

    is_closed: bool

    @property
    def is_valid(self) -> bool:
        """Whether all was as the format asks for, once closed."""

    def feed(self, text: str, *, is_last: bool) -> tuple[str, str]:
        """The JSON these characters give, and those of them that are not used yet."""
