"""Text of tokens that are shown piece by piece: characters stay whole, special tokens are spelled out."""

from collections.abc import Sequence

from rollout.tokenizer.tokenizer import Tokenizer

LONGEST_CHARACTER = 4  # bytes, and so tokens


class TokenText:
    """A character whose bytes lie in two pieces is told by the one that completes it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of(self, ids: Sequence[int], *, before: Sequence[int], is_continued: bool) -> str:
        """The text of a piece; `before` are at least the last four tokens that come before it, if there are so many."""
        decoder = self._tokenizer.text_decoder()
        for id_ in before[-LONGEST_CHARACTER:]:
            decoder.push([id_])
        # One by one at the end, where some decoders hold back all they were given with half a character.
        text = decoder.push(ids[:-LONGEST_CHARACTER])
        text += "".join(decoder.push([id_]) for id_ in ids[-LONGEST_CHARACTER:])
        return text if is_continued else text + decoder.finish()
