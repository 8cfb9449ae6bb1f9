"""Which sampled tokens make up a piece of shown text: an output also has markup, and tokens that end inside a character."""

from collections import deque
from collections.abc import Iterable

from gateway.dialects.responses.output_items import shown_logprob
from gateway.request.request import TokenLogprob


class TextLogprobs:
    """Gives each token once, with the text in which it begins. Texts are asked for in the order of the output."""

    def __init__(self) -> None:
        self._tokens: deque[tuple[TokenLogprob, int]] = (
            deque()
        )  # and how many of its bytes are left
        self._bytes = b""  # those of the tokens, what is left of each

    def add(self, tokens: Iterable[TokenLogprob]) -> None:
        for token in tokens:
            self._tokens.append((token, len(token.bytes)))
            self._bytes += bytes(token.bytes)

    def of(self, text: str) -> list[object]:
        """The tokens of this text; those before it are markup and belong to no text."""
        wanted = text.encode()
        start = self._bytes.find(wanted)
        if start < 0:
            return []
        self._drop(start)
        taken = self._drop(len(wanted))
        return [shown_logprob(token) for token in taken]

    def _drop(self, num_bytes: int) -> list[TokenLogprob]:
        """Go on by this many bytes; gives the tokens that begin in them."""
        self._bytes = self._bytes[num_bytes:]
        begun = []
        while num_bytes and self._tokens:
            token, left = self._tokens.popleft()
            if left == len(token.bytes):
                begun.append(token)
            if left > num_bytes:
                self._tokens.appendleft((token, left - num_bytes))
            num_bytes -= min(left, num_bytes)
        return begun
