"""Text of tokens that are shown in pieces: characters stay whole, special tokens are written out."""

from collections.abc import Sequence

from rollout.tokenizer.tokenizer import Tokenizer

LONGEST_CHARACTER = 4  # bytes, and so tokens


class TokenText:
    """A character whose bytes lie in two pieces is in the text of the second."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def of(self, ids: Sequence[int], *, before: Sequence[int], is_continued: bool) -> str:
        """The text of a piece; `before` holds the tokens that come before it, of which the last four are used."""
        decoder = self._tokenizer.text_decoder()
        for id_ in before[-LONGEST_CHARACTER:]:
            decoder.push([id_])
        # One by one at the end: some decoders hold back their whole input if it ends in half a character.
        text = decoder.push(ids[:-LONGEST_CHARACTER])
        text += "".join(decoder.push([id_]) for id_ in ids[-LONGEST_CHARACTER:])
        return text if is_continued else text + decoder.finish()
