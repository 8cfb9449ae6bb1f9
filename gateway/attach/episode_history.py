"""A cache of the episodes that this gateway serves, so that a turn reads only turns it has not seen.

Redis has the log and any gateway can rebuild the trie from it, so an entry may be dropped at any time.
"""

from collections import OrderedDict
from collections.abc import Sequence

from rollout.episode.episode_records import EpisodeSummary
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Output, Turn, decode_turn
from rollout.errors import DamagedEpisode
from rollout.store.redis_decoding import UNREADABLE

# About 18 bytes per token, its JSON included: 4,096 episodes take 1.5 GB at 20k tokens each, a tenth at the usual 2k.
MAX_HISTORIES = 4096


class EpisodeHistory:
    """One episode's trie, as far as this gateway has read it."""

    def __init__(self, header: EpisodeSummary) -> None:
        self.created_ms = header.created_ms
        self.policy = header.history
        self.trie = Trie()
        self.reasoning: dict[Anchor, str] = {}  # of outputs that this gateway sampled or read
        # What text completions were compared with, by the span's identity; kept by SpanTexts.
        self.texts: dict[tuple[int, int], str] = {}  # of its first tokens
        self.shown_texts: dict[int, tuple[int, str]] = {}

    def read(self, encoded: Sequence[bytes], since: int) -> None:
        """Add the turns from ordinal `since` on; a concurrent call may have added some of them already."""
        for data in encoded[max(0, self.trie.num_turns - since) :]:
            self.trie.extend(decode_turn(data))

    def add(self, turn: Turn, ordinal: int) -> None:
        """Add a turn that was just committed, if no earlier turn is missing."""
        if ordinal == self.trie.num_turns:
            self.trie.extend(turn)

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


class EpisodeHistories:
    """The most recently used histories."""

    def __init__(self, capacity: int = MAX_HISTORIES) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[tuple[str, str], EpisodeHistory] = OrderedDict()

    def num_known_turns(self, project: str, episode_id: str) -> int:
        history = self._entries.get((project, episode_id))
        return history.trie.num_turns if history is not None else 0

    def bring_up_to_date(
        self, project: str, header: EpisodeSummary, *, since: int, turns: Sequence[bytes]
    ) -> EpisodeHistory | None:
        """Read `turns` and return the history; None if turns before them are missing.

        They are missing if the cached entry was dropped, or belongs to an earlier episode of that id.
        """
        key = (project, header.id)
        history = self._entries.get(key)
        if history is None or history.created_ms != header.created_ms:
            history = self._entries[key] = EpisodeHistory(header)
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        if since > history.trie.num_turns:
            return None
        try:
            history.read(turns, since)
        except UNREADABLE as error:
            del self._entries[key]
            raise DamagedEpisode(header.id, f"turns: {error!r}") from error
        return history
