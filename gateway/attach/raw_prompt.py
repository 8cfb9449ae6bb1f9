"""Prompts without messages: token ids, or text that no template touches.

Ids attach where they leave the trie. Text continues the longest recorded output with whose text it begins, so that what
was sampled is not encoded again; only the rest is.
"""

from collections.abc import Sequence

import numpy as np

from gateway.attach.prompt_encoder import PromptEncoder
from gateway.errors import BadRequest
from gateway.parsing.stop_text import StopText
from rollout.episode.span import Span
from rollout.episode.trie import Trie
from rollout.episode.turn import TOKEN, Anchor, Ids
from rollout.tokenizer.tokenizer import Tokenizer


class RawPrompts:
    def __init__(self, tokenizer: Tokenizer, encoder: PromptEncoder) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder

    async def place(self, prompt: str | Sequence[int], trie: Trie) -> tuple[Anchor | None, Ids]:
        """Where the prompt joins the trie, and the tokens that it adds. Raises ContextOverflow."""
        after: Anchor | None = None
        if isinstance(prompt, str):
            after, num_known = self._continued(prompt, trie)
            ids = np.array(await self._encoder.encode_whole(prompt[num_known:]), TOKEN)
        else:
            ids = np.array(prompt, TOKEN)
            self._check(ids)
        end, num_shared = trie.longest_prefix(ids, after=after)
        return end, ids[num_shared:]

    def _check(self, ids: Ids) -> None:
        """Raises BadRequest: an id outside the vocabulary stops the engine for every caller."""
        if ids.max(initial=0) >= self._tokenizer.vocab_size:
            raise BadRequest(
                f"prompt has token ids outside the model's vocabulary of {self._tokenizer.vocab_size}",
                param="prompt",
                code="invalid_token_ids",
            )

    def _continued(self, prompt: str, trie: Trie) -> tuple[Anchor | None, int]:
        """The end of the recorded output that the prompt continues, and how many characters it has until there."""
        starts: dict[tuple[int, int], int | None] = {}  # of the text after a span's first tokens
        begun: dict[
            int, int
        ] = {}  # where the text of a span begins, if the prompt holds all before it
        best: tuple[Anchor | None, int] = (None, 0)
        for span in trie.spans():
            start = self._start(span, prompt, begun, starts)
            if start is None:
                continue
            begun[id(span)] = start
            if span.is_context or trie.sampled(span).is_abandoned:
                continue
            num_tokens, text = self._shown(span, trie)
            end = start + len(self._text(span, num_tokens))
            if num_tokens and prompt.startswith(text, start) and end >= best[1]:
                best = Anchor(trie.turn_at(span.turn).id, span.output, num_tokens), end
        return best

    def _start(
        self,
        span: Span,
        prompt: str,
        begun: dict[int, int],
        starts: dict[tuple[int, int], int | None],
    ) -> int | None:
        """Where the text of a span begins in the prompt; None if the prompt differs before it."""
        if span.parent is None:
            return 0
        if id(span.parent) not in begun:
            return None
        place = id(span.parent), span.offset
        if place not in starts:
            text, start = self._text(span.parent, span.offset), begun[id(span.parent)]
            starts[place] = start + len(text) if prompt.startswith(text, start) else None
        return starts[place]

    def _shown(self, span: Span, trie: Trie) -> tuple[int, str]:
        """The tokens of an output whose text its client saw, and that text: up to a stop string, without the end token."""
        ids: list[int] = span.tokens.tolist()
        if ids and ids[-1] in self._tokenizer.eos_ids:
            ids.pop()
        stop = StopText(trie.turn_at(span.turn).sampling.stop)
        decoder = self._tokenizer.stream_decoder()
        text = stop.push(decoder.push(ids) + decoder.finish()) + stop.finish()
        fewest, most = 0, len(ids)
        num_tokens = most  # usually all
        while fewest < most:
            if text.startswith(self._text(span, num_tokens)):
                fewest = num_tokens
            else:
                most = num_tokens - 1
            num_tokens = (fewest + most + 1) // 2
        return num_tokens, text

    def _text(self, span: Span, num_tokens: int) -> str:
        return self._tokenizer.decode(span.tokens[:num_tokens].tolist())
