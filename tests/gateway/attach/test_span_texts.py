"""The texts that a text completion's prompt is compared with."""

from collections.abc import Sequence
from pathlib import Path

from gateway.attach.episode_history import EpisodeHistory
from gateway.attach.prompt_encoder import PromptEncoder
from gateway.attach.raw_prompt import RawPrompts
from rollout.episode.episode_records import parse_header
from rollout.episode.turn import Anchor
from rollout.tokenizer.tokenizer import Codec, TokenFacts, Tokenizer
from tests.rollout.turns import output, turn


class CountingTokenizer(Tokenizer):
    """Counts the tokens that it decodes at once."""

    num_decoded = 0

    def __init__(self, codec: Codec, facts: TokenFacts) -> None:
        super().__init__(codec, facts)

        def decode(ids: Sequence[int], /) -> str:
            self.num_decoded += len(ids)
            return codec.decode(ids)

        self.decode = decode


async def test_a_text_completion_decodes_only_what_is_new(model_dir: Path) -> None:
    """The texts of spans that an earlier prompt was compared with are known."""
    tokenizer = CountingTokenizer.load(model_dir)
    assert isinstance(tokenizer, CountingTokenizer)
    history = EpisodeHistory(parse_header([b"ep_1", b"open", *[None] * 20]))
    prompts = RawPrompts(tokenizer, PromptEncoder(tokenizer, ""))
    first, said = tokenizer.encode("Once upon a time"), tokenizer.encode(", there")
    history.add(turn("turn_0", first, output(said)), 0)
    end = Anchor("turn_0", 0, len(said))
    text = "Once upon a time, there was"
    assert (await prompts.place(text, history))[0] == end
    before = tokenizer.num_decoded
    anchor, new = await prompts.place(text, history)
    assert (anchor, new.tolist()) == (end, tokenizer.encode(" was"))
    assert tokenizer.num_decoded == before > 0
