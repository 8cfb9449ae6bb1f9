"""How fast one optimizer step is on Megatron-Core beside the same model and batch in plain PyTorch with SDPA.

Both start from the same random Qwen3, take the same sequences, compute the same loss (mean token log-likelihood),
clip and step AdamW; ours measures the entropy of every token besides. One thread, CPU time, the two alternate; the
median of the rounds is reported.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Shape:
    """A model and a batch of `rows` sequences of `length` tokens."""

    name: str
    rows: int
    length: int
    layers: int = 4
    hidden: int = 256
    heads: int = 8
    feed_forward: int = 768
    vocabulary: int = 512


SHAPES = (
    Shape(
        "demo, 64 x 100", 64, 100, layers=2, hidden=128, heads=4, feed_forward=256, vocabulary=441
    ),
    Shape("8 x 128", 8, 128),
    Shape("2 x 1024", 2, 1024),
)


@dataclass(frozen=True, slots=True)
class Figure:
    shape: str
    precision: str
    tokens_per_second: float
    plain_tokens_per_second: float

    @property
    def ratio(self) -> float:
        return self.tokens_per_second / self.plain_tokens_per_second


def write_model(shape: Shape, directory: Path) -> Any:
    """A random Qwen3 of this shape; returned in plain PyTorch, written for the MegatronLearner."""
    import torch  # noqa: PLC0415 - `make bench` sets the thread count before torch is loaded
    from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(directory)
    return model


def plain_step(model: Any, tokens: Any, precision: str) -> Callable[[], None]:
    """One step as a careful PyTorch user writes it: fused AdamW, on float32 master weights under bfloat16."""
    import torch  # noqa: PLC0415

    model = model.train()
    masters = list(model.parameters())
    if precision != "float32":
        masters = [parameter.detach().clone().requires_grad_() for parameter in masters]
        model = model.to(getattr(torch, precision))
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(masters, lr=1e-4, fused=True)
    targets = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=-100).flatten()

    def step() -> None:
        logits = model(input_ids=tokens, use_cache=False).logits.float()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets).backward()
        if precision != "float32":
            for master, parameter in zip(masters, parameters, strict=True):
                master.grad, parameter.grad = parameter.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if precision != "float32":
            with torch.no_grad():
                torch._foreach_copy_(parameters, masters)

    return step


def megatron_step(directory: Path, tokens: Any, precision: str) -> Callable[[], None]:
    import torch  # noqa: PLC0415

    from trainer.learner.microbatch import Microbatch, TrainBatch  # noqa: PLC0415
    from trainer.learner.optimizer import OptimizerSettings  # noqa: PLC0415
    from trainer.megatron.learner import MegatronLearner  # noqa: PLC0415

    rows, length = tokens.shape
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[:, 0] = False
    mask = mask.flatten()
    zeros = torch.zeros(rows * length)
    microbatch = Microbatch(
        tokens=tokens.flatten(),
        cu_seqlens=torch.arange(0, rows * length + 1, length, dtype=torch.int32),
        action_mask=mask,
        advantages=zeros,
        behavior_logprobs=zeros,
        proximal_logprobs=zeros,
        weights=mask.float() / mask.sum(),
    )
    learner = MegatronLearner.create(
        directory, OptimizerSettings(1e-4), dtype=getattr(torch, precision)
    )

    def loss(logprobs: Any, _entropy: Any, packed: Microbatch) -> tuple[Any, dict[str, Any]]:
        return -(packed.weights * logprobs).sum(), {}

    def step() -> None:
        learner.step(TrainBatch((microbatch,)), loss)

    return step


def cpu_seconds(step: Callable[[], None]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


def measure(shape: Shape, precision: str) -> Figure:
    import torch  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        model = write_model(shape, Path(name))
        tokens = torch.randint(0, shape.vocabulary, (shape.rows, shape.length))
        ours, plain = (
            megatron_step(Path(name), tokens, precision),
            plain_step(model, tokens, precision),
        )
        for step in (ours, plain) * 2:
            step()
        times = [(cpu_seconds(ours), cpu_seconds(plain)) for _ in range(ROUNDS)]
    ours_seconds, plain_seconds = (statistics.median(column) for column in zip(*times, strict=True))
    count = shape.rows * shape.length
    return Figure(shape.name, precision, count / ours_seconds, count / plain_seconds)


def run() -> list[Figure]:
    os.environ["OMP_NUM_THREADS"] = "1"
    return [measure(shape, precision) for shape in SHAPES for precision in ("float32", "bfloat16")]


def table(figures: list[Figure]) -> Table:
    rows = Table(title="Trainer: tokens per CPU second of one optimizer step, one thread")
    for column in ("shape", "precision"):
        rows.add_column(column)
    for column in ("Megatron-Core", "PyTorch + SDPA", "ratio"):
        rows.add_column(column, justify="right")
    for figure in figures:
        ours, plain = f"{figure.tokens_per_second:,.0f}", f"{figure.plain_tokens_per_second:,.0f}"
        rows.add_row(figure.shape, figure.precision, ours, plain, f"{figure.ratio:.2f}")
    return rows
