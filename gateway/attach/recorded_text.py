"""Recorded outputs as the text that their clients saw: with the prefill, up to a stop string, without the end token."""

from gateway.attach.episode_history import EpisodeHistory
from gateway.attach.prompt import Prompt
from gateway.parsing.output_reader import OutputReader
from gateway.parsing.stop_text import StopText
from rollout.episode.turn import Anchor
from rollout.tokenizer.tokenizer import Tokenizer

TAIL_TOKENS = 8


class RecordedText:
    def __init__(self, tokenizer: Tokenizer, reader: OutputReader) -> None:
        self._tokenizer = tokenizer
        self._reader = reader

    def matches(self, rendered: str, anchor: Anchor, history: EpisodeHistory) -> bool:
        """Whether a rendered message means the same as the recorded one that ends here."""
        tail = self._tail_before(anchor, history) if self._reader.reads_reasoning else ""
        return self._reader.agree(rendered, self._text(anchor, history), tail)

    def reasoning(self, anchor: Anchor, history: EpisodeHistory) -> str:
        """The reasoning of the message that ends here."""
        known = history.reasoning.get(anchor)
        if known is None:
            text, tail = self._text(anchor, history), self._tail_before(anchor, history)
            known = history.keep_text(self._reader.read(text, tail).reasoning)
            history.reasoning[anchor] = known
        return known

    def tail(self, prompt: Prompt) -> str:
        """The end of a prompt as text, long enough to see whether it opens the reasoning."""
        return self._tokenizer.decode(prompt.tail(TAIL_TOKENS))

    def _text(self, anchor: Anchor, history: EpisodeHistory) -> str:
        first, *_ = parts = history.message(anchor)
        shown = [self._shown(part, history) for part in parts]
        return self._tokenizer.decode(history.forced_ids(first)) + "".join(shown)

    def _shown(self, anchor: Anchor, history: EpisodeHistory) -> str:
        """An output as its client saw it: without special tokens other than markup, cut at a stop string."""
        ids = history.output_ids(anchor)
        sampled = ids[:-1] if ids and ids[-1] in self._tokenizer.eos_ids else ids
        decoder = self._tokenizer.stream_decoder(self._reader.markers)
        stop = StopText(history.trie.turn(anchor.turn_id).sampling.stop)
        return stop.push(decoder.push(sampled) + decoder.finish()) + stop.finish()

    def _tail_before(self, anchor: Anchor, history: EpisodeHistory) -> str:
        """The end of the prompt that the message answers."""
        turn = history.trie.turn(history.message(anchor)[0].turn_id)
        start = Anchor(turn.id, -1, len(turn.context_ids) - turn.forced)
        return self._tokenizer.decode(history.trie.tail(start, TAIL_TOKENS))
