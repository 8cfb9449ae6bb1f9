"""The warm start as a command: chats in, a model directory out that a policy can start from."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from rollout.chat_template.chat_template import ChatTemplate, encode_chat
from rollout.tokenizer.tokenizer import Tokenizer
from trainer.sft import app

BATCHES, WARMUP = 30, 2
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"What do {n} melon and 6 vase cost?"},
            {"role": "assistant", "content": "279"},
        ],
        "tools": [],
    }
    for n in range(2, 10)
]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    path.write_text("\n".join(json.dumps(chat) for chat in CHATS) + "\n")
    return path


@pytest.fixture
def data(chats: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copy(chats, tmp_path))


@pytest.fixture(scope="module")
def trained(
    model_dir: Path, chats: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float]]:
    """What the command writes after `BATCHES` batches of the same chats, and its summary."""
    out = tmp_path_factory.mktemp("trained") / "out"
    command = [sys.executable, "-m", "trainer.sft", "--model", model_dir, "--data", chats]
    numbers = ["--batches", str(BATCHES), "--batch-size", "8", "--warmup-batches", str(WARMUP)]
    result = subprocess.run(
        [*command, "--out", out, *numbers, "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return out, json.loads(result.stdout.splitlines()[-1])


def test_it_learns_what_assistants_wrote(
    model_dir: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    """Thirty batches of one answer bring its loss down; the result is a whole directory with other weights."""
    out, summary = trained
    assert summary["loss_first"] > 5
    assert summary["loss_last"] < 0.5
    assert summary["batches"] == BATCHES
    before, after = (load_file(d / "model.safetensors") for d in (model_dir, out))
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    others = {p.name for p in model_dir.iterdir()} - {"model.safetensors"}
    assert all((out / name).read_bytes() == (model_dir / name).read_bytes() for name in others)


def test_it_learns_as_much_as_a_plain_loop(
    model_dir: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    """Torch's AdamW on transformers' model, with padded rows and the same schedule, has the same losses."""
    _, summary = trained
    first, *_, last = plain_losses(model_dir)
    assert summary["loss_first"] == pytest.approx(first, rel=1e-4)
    assert summary["loss_last"] == pytest.approx(last, rel=1e-3)


def plain_losses(model_dir: Path) -> list[float]:
    """Written from the command's description: linear warm-up and decay, no decay of norms, gradients clipped to 1."""
    tokens, labels = padded(model_dir)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    matrices, norms = (
        [p for p in model.parameters() if (p.ndim > 1) == it] for it in (True, False)
    )
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": norms, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        weight_decay=0.01,
    )
    losses: list[float] = []
    for step in range(1, BATCHES + 1):
        decayed = (BATCHES - step) / (BATCHES - WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(step / WARMUP, 0.01 + 0.99 * decayed)
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def padded(model_dir: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The chats as rows of one length, `[B, T]`, and labels that ignore what no assistant wrote."""
    tokenizer = Tokenizer.load(model_dir)
    template = ChatTemplate.load(model_dir, tokenizer)
    rows = [encode_chat(template, tokenizer, chat["messages"]) for chat in CHATS]
    length = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([ids + [0] * (length - len(ids)) for ids, _ in rows])
    learned = torch.tensor([mask + [False] * (length - len(mask)) for _, mask in rows])
    return tokens, torch.where(learned, tokens, -100)


def test_only_what_assistants_wrote_is_learned(model_dir: Path) -> None:
    """The mask covers the answer and the end of its turn, nothing else."""
    tokenizer = Tokenizer.load(model_dir)
    template = ChatTemplate.load(model_dir, tokenizer)
    ids, mask = encode_chat(template, tokenizer, CHATS[0]["messages"])
    learned = [token for token, is_learned in zip(ids, mask, strict=True) if is_learned]
    assert learned == tokenizer.encode("279") + tokenizer.encode(template.end_of_turn)


@pytest.mark.parametrize("line", ["{", '{"no": "messages"}', '{"messages": []}'])
def test_a_line_that_is_no_chat_is_named(
    model_dir: Path, data: Path, tmp_path: Path, line: str
) -> None:
    """File and line are in the message, and nothing is written."""
    data.write_text(data.read_text() + line + "\n")
    out = tmp_path / "out"
    options = ["--batches", "3", "--batch-size", "8"]
    result = run("--model", model_dir, "--data", data, "--out", out, *options)
    assert result.exit_code == 2
    assert f"{data.name}:9" in "".join(result.stderr.split("│")).replace("\n", "").replace(" ", "")
    assert not out.exists()


def test_an_existing_directory_is_not_overwritten(model_dir: Path, data: Path) -> None:
    """The output must be a new directory."""
    result = run(
        "--model", str(model_dir), "--data", str(data), "--out", str(data.parent), "--batches", "1"
    )
    assert result.exit_code == 2
    assert "exists" in result.stderr
