"""The codec of our own against Hugging Face's `tokenizers`, on the texts that a turn encodes: its new suffix.

Each round encodes texts that neither codec has seen, with both in turn, on one thread; CPU time, the median round.
"""

import random
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.table import Table

from rollout.tokenizer.huggingface_codec import HuggingFaceCodec
from rollout.tokenizer.tokenizer import Tokenizer
from tests.bench.gateway_model import write_gateway_model

Given = TypeVar("Given")
Made = TypeVar("Made")
SUFFIX = (
    "\n<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
)
# What a tool returned, in characters: a number, a line, a page; and a first prompt with its tools.
SIZES = {
    "suffix, 20": 20,
    "suffix, 200": 200,
    "suffix, 2,000": 2_000,
    "first prompt, 19,000": 19_000,
}
NUM_ROUNDS = 9
ROUND_CHARACTERS = 200_000
REPLY_TOKENS = 300


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    tokens: float
    own_us: float
    huggingface_us: float

    @property
    def speedup(self) -> float:
        return self.huggingface_us / self.own_us


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as name:
        directory = Path(name)
        write_gateway_model(directory)
        own, huggingface = Tokenizer.load(directory), HuggingFaceCodec(directory / "tokenizer.json")
        assert own.kind == "tiktoken"
        pages = sorted(Path(sysconfig.get_paths()["purelib"], "openai").rglob("*.py"))
        text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
        return [
            *(_encoding(own, huggingface, name, size, text) for name, size in SIZES.items()),
            _streaming(own, huggingface, text),
        ]


def _encoding(
    own: Tokenizer, huggingface: HuggingFaceCodec, name: str, size: int, text: str
) -> Figure:
    pick = random.Random(size)
    count = max(10, min(500, ROUND_CHARACTERS // size))
    rounds, num_tokens = [], 0
    for _ in range(NUM_ROUNDS):
        starts = [pick.randrange(len(text) - size) for _ in range(count)]
        texts = [SUFFIX.format(text[start : start + size]) for start in starts]
        ids, own_seconds = _timed(own.encode, texts)
        same, seconds = _timed(huggingface.encode, texts)
        assert ids == same
        num_tokens += sum(map(len, ids))
        rounds.append((own_seconds / count, seconds / count))
    return _figure(name, num_tokens / NUM_ROUNDS / count, rounds)


def _streaming(own: Tokenizer, huggingface: HuggingFaceCodec, text: str) -> Figure:
    """A reply that is decoded token by token while it streams."""
    ids = own.encode(text[: REPLY_TOKENS * 10])[:REPLY_TOKENS]
    rounds = []
    for _ in range(NUM_ROUNDS):
        shown, own_seconds = _timed(own.text_decoder().push, [[id_] for id_ in ids])
        same, seconds = _timed(huggingface.stream_decoder(()).push, [[id_] for id_ in ids])
        assert "".join(shown) == "".join(same)
        rounds.append((own_seconds, seconds))
    return _figure("reply, decoded by token", len(ids), rounds)


def _timed(work: Callable[[Given], Made], items: Sequence[Given]) -> tuple[list[Made], float]:
    started = time.process_time()
    made = [work(each) for each in items]
    return made, time.process_time() - started


def _figure(name: str, tokens: float, rounds: Sequence[tuple[float, float]]) -> Figure:
    own, huggingface = (statistics.median(each) * 1e6 for each in zip(*rounds, strict=True))
    return Figure(name, tokens, own, huggingface)


def table(figures: Sequence[Figure]) -> Table:
    rows = Table(title="Encoding on one thread, CPU time")
    for column in ("text, characters", "tokens", "own, µs", "tokenizers, µs", "own is faster"):
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            figure.what,
            f"{figure.tokens:,.0f}",
            f"{figure.own_us:,.0f}",
            f"{figure.huggingface_us:,.0f}",
            f"{figure.speedup:.1f}x",
        )
    return rows
