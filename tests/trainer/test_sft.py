"""The warm start as a command: chats in, a model directory out that a policy can start from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from rollout.chat_template.chat_template import ChatTemplate, encode_chat
from rollout.tokenizer.tokenizer import Tokenizer
from trainer.sft import app

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


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(chat) for chat in CHATS) + "\n")
    return path


def test_it_learns_what_assistants_wrote(model_dir: Path, data: Path, tmp_path: Path) -> None:
    """Thirty batches of one answer bring its loss down; the result is a whole directory with other weights."""
    out = tmp_path / "out"
    options = ["--batches", "30", "--batch-size", "8", "--warmup-batches", "2", "--output", "json"]
    command = [
        sys.executable,
        "-m",
        "trainer.sft",
        "--model",
        model_dir,
        "--data",
        data,
        "--out",
        out,
    ]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["loss_first"] > 5
    assert summary["loss_last"] < 0.5
    assert summary["batches"] == 30
    before, after = (load_file(d / "model.safetensors") for d in (model_dir, out))
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    others = {p.name for p in model_dir.iterdir()} - {"model.safetensors"}
    assert all((out / name).read_bytes() == (model_dir / name).read_bytes() for name in others)


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
