"""Supervised warm start: `python -m trainer.sft`, chats in, a Hugging Face model directory out.

It uses the learner and the loss of reinforcement learning with every advantage 1: minus the mean logprob, over the batch, of the tokens
that assistants wrote. A chat is encoded as the gateway encodes it turn by turn, so training and serving see the same ids.
"""

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from rollout.chat_template.chat_template import ChatTemplate, encode_chat
from rollout.episode.sequences import TokenSequence
from rollout.tokenizer.model_directory import ModelDirectoryError
from rollout.tokenizer.tokenizer import Tokenizer
from trainer.algorithms import score_function
from trainer.backends import BACKENDS
from trainer.batch.assembly import pack_rows
from trainer.batch.episode_rows import Row
from trainer.learner.errors import LearnerError
from trainer.learner.learner import Learner
from trainer.learner.microbatch import Microbatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.publish.weight_files import write_model

MINIMUM_RATIO = 0.01  # of the learning rate, at the last batch: token frequencies are learned only with small steps

app = typer.Typer(add_completion=False)


class ChatError(ValueError):
    """A line of the data is not a chat, or there is no line; the message names file, line and remedy."""


@app.command()
def main(
    *,
    model: Annotated[Path, typer.Option(help="Hugging Face directory to start from", exists=True)],
    data: Annotated[
        Path, typer.Option(help="JSONL of {messages, tools}, read in order", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="directory to write; it must not exist")],
    batches: Annotated[int, typer.Option(min=1, help="optimizer steps")],
    batch_size: Annotated[int, typer.Option(min=1, help="chats per step")] = 16,
    learning_rate: float = 3e-3,
    warmup_batches: int = 20,
    weight_decay: float = 0.01,
    tokens_per_microbatch: int = 8192,
    seed: int = 0,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="json: a summary on stdout")
    ] = "text",
) -> None:
    """Train on the messages of assistants and write the result as a model directory."""
    if out.exists():
        raise typer.BadParameter(f"{out} exists; name a new directory", param_hint="--out")
    optimizer = OptimizerSettings(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule="linear",
        warmup_steps=min(warmup_batches, batches - 1),
        decay_steps=batches,
        minimum_ratio=MINIMUM_RATIO,
    )
    try:
        with closing(BACKENDS["megatron"](model, optimizer, seed=seed)) as learner:
            chats = read_chats(data, model)
            groups = (list(itertools.islice(chats, batch_size)) for _ in range(batches))
            summary = fit(learner, groups, total=batches, token_budget=tokens_per_microbatch)
            write_whole(learner, source=model, out=out)
            is_primary = learner.is_primary
    except (ChatError, LearnerError, ModelDirectoryError) as error:
        raise typer.BadParameter(str(error)) from error
    if is_primary:
        text = json.dumps(summary | {"out": str(out)}) if output == "json" else f"wrote {out}"
        sys.stdout.write(text + "\n")


def fit(
    learner: Learner, groups: Iterator[list[Row]], *, total: int, token_budget: int
) -> dict[str, float]:
    """One optimizer step per group of chats; returns a summary."""
    started = time.monotonic()
    losses: list[float] = []
    tokens = 0
    with _progress(hidden=not learner.is_primary) as progress:
        bar = progress.add_task("warm start", total=total, loss=float("nan"))
        for rows in groups:
            batch = pack_rows(
                rows,
                token_budget=token_budget,
                ranks=learner.data_parallel,
                min_saving=learner.min_tree_saving,
            )
            metrics = learner.step(batch, assistant_loss)
            losses.append(metrics.loss)
            tokens += batch.num_tokens
            progress.update(bar, advance=1, loss=metrics.loss)
    return {
        "batches": total,
        "tokens": tokens,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "seconds": round(time.monotonic() - started, 3),
    }


def assistant_loss(
    current_logprobs: Tensor, _entropies: Tensor, microbatch: Microbatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """-logp of the assistant's tokens, weighted."""
    return (microbatch.weights * score_function(current_logprobs, microbatch.advantages)).sum(), {}


def read_chats(data: Path, model: Path) -> Iterator[Row]:
    """The chats of a JSONL file as rows to train on, in order, again from the start when they run out."""
    tokenizer = Tokenizer.load(model)
    template = ChatTemplate.load(model, tokenizer)
    while True:
        found = False
        with data.open() as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    found = True
                    yield _row(line, template, tokenizer, where=f"{data}:{number}")
        if not found:
            raise ChatError(f"{data} contains no chat; write one JSON object per line")


def _row(line: str, template: ChatTemplate, tokenizer: Tokenizer, *, where: str) -> Row:
    try:
        chat: dict[str, Any] = json.loads(line)
        ids, mask = encode_chat(template, tokenizer, chat["messages"], chat.get("tools"))
    except (ValueError, KeyError, TypeError) as error:
        raise ChatError(
            f"{where}: not a chat ({error!r}); a line is an object with messages"
        ) from error
    tokens = np.asarray(ids, np.int32)
    sequence = TokenSequence(
        tokens=tokens,
        action_mask=np.asarray(mask, np.bool_),
        behavior_logprobs=np.zeros(len(tokens), np.float32),
        versions=np.full(len(tokens), -1, np.int32),
        turns=np.full(len(tokens), -1, np.int32),
        flags=np.zeros(len(tokens), np.int32),
        episode_id=where,
    )
    everywhere = np.ones(len(tokens), np.float32)
    return Row(sequence, advantages=everywhere * sequence.action_mask, temperatures=everywhere)


def write_whole(learner: Learner, *, source: Path, out: Path) -> None:
    """Write under a temporary name and rename, so that `out` is whole or absent."""
    if not learner.is_primary:
        for _ in learner.export():
            pass
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as partial:
        whole = Path(partial) / "model"
        whole.mkdir()
        write_model(whole, source=source, tensors=learner.export())
        whole.rename(out)


def _progress(*, hidden: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(*columns, loss, console=Console(stderr=True), disable=hidden)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    app()
