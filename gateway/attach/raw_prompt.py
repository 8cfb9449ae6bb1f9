"""Prompts without messages: token ids, or text that no template touches.

Ids attach where they leave the trie. Text continues the longest recorded output with whose text it begins, so that what
was sampled is not encoded again; only the rest is.
"""

from collections.abc import Sequence

import numpy as np

from gateway.attach.episode_history import EpisodeHistory
from gateway.attach.prompt_encoder import PromptEncoder
from gateway.attach.span_texts import SpanTexts
from gateway.errors import BadRequest
from rollout.episode.span import Span
from rollout.episode.turn import TOKEN, Anchor, Ids
from rollout.tokenizer.tokenizer import Tokenizer


class RawPrompts:
    def __init__(self, tokenizer: Tokenizer, encoder: PromptEncoder) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder

    async def place(
        self, prompt: str | Sequence[int], history: EpisodeHistory
    ) -> tuple[Anchor | None, Ids]:
        """Where the prompt joins the trie, and the tokens that it adds. Raises ContextOverflow."""
        after: Anchor | None = None
        if isinstance(prompt, str):
            after, num_known = self._continued(prompt, history)
            ids = np.array(await self._encoder.encode_whole(prompt[num_known:]), TOKEN)
        else:
            ids = np.array(prompt, TOKEN)
            self._check(ids)
        end, num_shared = history.trie.longest_prefix(ids, after=after)
        return end, ids[num_shared:]

    def _check(self, ids: Ids) -> None:
        """Raises BadRequest: an id outside the vocabulary stops the engine for every caller."""
        if ids.max(initial=0) >= self._tokenizer.vocab_size:
            raise BadRequest(
                f"prompt has token ids outside the model's vocabulary of {self._tokenizer.vocab_size}",
                param="prompt",
                code="invalid_token_ids",
            )

    def _continued(self, prompt: str, history: EpisodeHistory) -> tuple[Anchor | None, int]:
        """The end of the recorded output that the prompt continues, and how many characters it has until there."""
        trie, texts = history.trie, SpanTexts(self._tokenizer, history)
        starts: dict[tuple[int, int], int | None] = {}  # of the text after a span's first tokens
        begun: dict[
            int, int
        ] = {}  # where the text of a span begins, if the prompt holds all before it
        best: tuple[Anchor | None, int] = (None, 0)
        for span in trie.spans():
            start = _start(span, texts, prompt=prompt, begun=begun, starts=starts)
            if start is None:
                continue
            begun[id(span)] = start
            if span.is_context or trie.sampled(span).is_abandoned:
                continue
            num_tokens, text = texts.shown(span)
            end = start + len(texts.text(span, num_tokens))
            if num_tokens and prompt.startswith(text, start) and end >= best[1]:
                best = Anchor(trie.turn_at(span.turn).id, span.output, num_tokens), end
        return best


def _start(
    span: Span,
    texts: SpanTexts,
    *,
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
        text, start = texts.text(span.parent, span.offset), begun[id(span.parent)]
        starts[place] = start + len(text) if prompt.startswith(text, start) else None
    return starts[place]
