"""The texts of an episode's spans. Each is decoded once: every text completion compares its prompt with them."""

from gateway.attach.episode_history import EpisodeHistory
from gateway.parsing.stop_text import StopText
from rollout.episode.span import Span
from rollout.tokenizer.tokenizer import Tokenizer


class SpanTexts:
    """Kept in the history by the span's identity: a span lives as long as its history and never changes."""

    def __init__(self, tokenizer: Tokenizer, history: EpisodeHistory) -> None:
        self._tokenizer = tokenizer
        self._history = history

    def text(self, span: Span, num_tokens: int) -> str:
        """The text of a span's first tokens."""
        known, key = self._history.texts, (id(span), num_tokens)
        if key not in known:
            known[key] = self._history.keep_text(self._decode(span, num_tokens))
        return known[key]

    def shown(self, span: Span) -> tuple[int, str]:
        """The tokens of an output whose text its client saw, and that text: up to a stop string, without the end token."""
        known = self._history.shown_texts
        if id(span) not in known:
            num_tokens, text = self._shown(span)
            known[id(span)] = num_tokens, self._history.keep_text(text)
        return known[id(span)]

    def _shown(self, span: Span) -> tuple[int, str]:
        ids: list[int] = span.tokens.tolist()
        if ids and ids[-1] in self._tokenizer.eos_ids:
            ids.pop()
        stop = StopText(self._history.trie.turn_at(span.turn).sampling.stop)
        decoder = self._tokenizer.stream_decoder()
        text = stop.push(decoder.push(ids) + decoder.finish()) + stop.finish()
        fewest, most = 0, len(ids)
        num_tokens = most  # usually all
        while fewest < most:
            if text.startswith(self._decode(span, num_tokens)):
                fewest = num_tokens
            else:
                most = num_tokens - 1
            num_tokens = (fewest + most + 1) // 2
        return num_tokens, text

    def _decode(self, span: Span, num_tokens: int) -> str:
        return self._tokenizer.decode(span.tokens[:num_tokens].tolist())
