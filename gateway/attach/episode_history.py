"""What this gateway knows of an episode: the turns that it took or read, as a trie, and what was made of them since.

Redis has the log, so all of it can be read again; what was made of the turns is made again when it is needed.
"""

from collections.abc import Sequence
from sys import getsizeof

from gateway.attach.encoded_prefixes import EncodedPrefixes
from gateway.attach.remembered_turn import remembered
from rollout.episode.episode_records import EpisodeSummary
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Output, Turn, decode_turn

# Of Python's objects, beside the bytes of tokens and texts; `tracemalloc` counts them.
EPISODE_BYTES, TURN_BYTES, TEXT_BYTES = 2_000, 1_300, 200


class EpisodeHistory:
    """One episode, as far as this gateway has read it."""

    def __init__(self, header: EpisodeSummary) -> None:
        self.id = header.id
        self.created_ms = header.created_ms
        self.policy = header.history
        self.trie = Trie()
        self.prefixes = EncodedPrefixes()
        self.reasoning: dict[Anchor, str] = {}  # of outputs that this gateway sampled or read
        # What text completions were compared with, by the span's identity; kept by SpanTexts.
        self.texts: dict[tuple[int, int], str] = {}  # of its first tokens
        self.shown_texts: dict[int, tuple[int, str]] = {}
        self._turn_bytes = EPISODE_BYTES
        self._text_bytes = 0

    def read(self, encoded: Sequence[bytes], since: int) -> int:
        """Add the turns from ordinal `since` on, and return how many are new; a concurrent call may have added some."""
        missing = encoded[max(0, self.trie.num_turns - since) :]
        for data in missing:
            self._extend(decode_turn(data))
        return len(missing)

    def add(self, turn: Turn, ordinal: int) -> None:
        """Add a turn that was just committed, if no earlier turn is missing."""
        if ordinal == self.trie.num_turns:
            self._extend(turn)

    @property
    def num_bytes(self) -> int:
        """About how much memory it takes."""
        return self._turn_bytes + self._text_bytes + self.prefixes.num_bytes

    def keep_text(self, text: str) -> str:
        """Count a text that is kept in one of the dictionaries."""
        self._text_bytes += TEXT_BYTES + getsizeof(text)  # a character takes up to 4 bytes
        return text

    def forget_derived(self) -> None:
        """Keep the turns, and nothing that can be made of them."""
        for derived in (self.prefixes, self.reasoning, self.texts, self.shown_texts):
            derived.clear()
        self._text_bytes = 0

    def message(self, anchor: Anchor) -> list[Anchor]:
        """The outputs of the message that ends here; several if it was cut and then continued."""
        outputs = [anchor]
        while (before := self._continued(outputs[0])) is not None:
            outputs.insert(0, before)
        return outputs

    def forced_ids(self, anchor: Anchor) -> list[int]:
        """The prefill that the caller wrote before an output."""
        turn = self.trie.turn(anchor.turn_id)
        ids: list[int] = turn.context_ids[len(turn.context_ids) - turn.forced :].tolist()
        return ids

    def output(self, anchor: Anchor) -> Output:
        """The output that holds an anchor."""
        return self.trie.turn(anchor.turn_id).outputs[anchor.output]

    def output_ids(self, anchor: Anchor) -> list[int]:
        ids: list[int] = self.output(anchor).ids[: anchor.offset].tolist()
        return ids

    def _continued(self, anchor: Anchor) -> Anchor | None:
        turn = self.trie.turn(anchor.turn_id)
        is_continuation = turn.anchor is not None and turn.anchor.output >= 0 and not turn.context
        return turn.anchor if is_continuation else None

    def _extend(self, turn: Turn) -> None:
        self.trie.extend(remembered(turn, self.trie))
        self._turn_bytes += TURN_BYTES + len(turn.context)
        for output in turn.outputs:
            self._turn_bytes += len(output.tokens)
