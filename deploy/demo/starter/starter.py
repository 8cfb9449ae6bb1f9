"""The demo's starter policy: a Qwen3-shaped model small enough to be made from nothing in a minute or two on one core.

`create_untrained` writes a complete Hugging Face model directory with random weights and loads no torch; `ensure_starter`
trains it on demonstrations in a process of the trainer's and keeps the result.
"""

import hashlib
import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from deploy.demo.clerk.subject import CLERK
from deploy.demo.starter import vocabulary
from deploy.demo.starter.vocabulary import END_OF_TURN, PADDING, train_tokenizer
from deploy.demo.subject import Subject
from deploy.errors import StartFailed

HEADS, KEY_VALUE_HEADS = 4, 2
CONTEXT_LENGTH = 4096
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")

# Seconds the warm start may take; it takes 60 on one busy core.
WARM_START_SECONDS = 900

Weights = Iterator[tuple[str, NDArray[np.float32]]]


def ensure_starter(
    cache_dir: Path,
    seed: int = 0,
    *,
    subject: Subject = CLERK,
    progress: Callable[[str], object] | None = None,
) -> Path:
    """The starter of this subject and seed, made once; the name of its directory is a digest of everything it is made from."""
    progress = progress or (lambda text: sys.stderr.write(text + "\n"))
    starter = cache_dir.resolve() / f"starter-{recipe_digest(subject, seed)}"
    if starter.exists():
        progress(f"starter policy: {starter}")
        return starter
    starter.parent.mkdir(parents=True, exist_ok=True)
    progress("starter policy: making it from nothing, once; a minute or two of one core")
    with tempfile.TemporaryDirectory(dir=starter.parent, prefix="starting-") as workplace:
        made = warm_start(Path(workplace), subject, seed)
        if not starter.exists():  # another process may have been faster
            made.rename(starter)
    return starter


def recipe_digest(subject: Subject, seed: int) -> str:
    """A name for the subject, the sources and the seed that a starter is made from."""
    digest = hashlib.sha256(f"{subject.name} {seed}".encode())
    for module in (*subject.sources, vocabulary):
        digest.update(inspect.getsource(module).encode())
    digest.update(Path(__file__).read_bytes())
    digest.update(CHAT_TEMPLATE.read_bytes())
    return digest.hexdigest()[:16]


def warm_start(workplace: Path, subject: Subject, seed: int) -> Path:
    """Imitate the demonstrations, in a process of the trainer's; returns the finished model directory."""
    untrained, data, out = workplace / "untrained", workplace / "chats.jsonl", workplace / "starter"
    create_untrained(untrained, seed, subject=subject)
    chats = subject.chats(seed)
    data.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    options = {
        "--model": untrained,
        "--data": data,
        "--out": out,
        "--batches": len(chats) // subject.batch_size,
        "--batch-size": subject.batch_size,
        "--seed": seed,
    }
    words = [str(word) for option in options.items() for word in option]
    # Its progress bar and its warnings go to standard error; standard output carries our result only.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "trainer.sft", *words],
        stdout=sys.stderr,
        timeout=WARM_START_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise StartFailed(f"python -m trainer.sft ended with code {done.returncode}; see above")
    return out


def create_untrained(
    directory: Path, seed: int, *, subject: Subject = CLERK, layers: int = 2, hidden: int = 128
) -> None:
    """Write tokenizer, chat template, configuration and random weights."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(subject.texts(), pieces=subject.pieces)
    tokenizer.save(str(directory / "tokenizer.json"))
    template = CHAT_TEMPLATE.read_text()
    (directory / "chat_template.jinja").write_text(template)
    vocabulary = tokenizer.get_vocab_size()
    for name, content in {
        "tokenizer_config.json": tokenizer_config(),
        "config.json": config(tokenizer, layers=layers, hidden=hidden),
        "generation_config.json": generation_config(tokenizer),
    }.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n")
    weights = dict(random_weights(seed, layers=layers, hidden=hidden, vocabulary=vocabulary))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def config(tokenizer: Tokenizer, *, layers: int, hidden: int) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": hidden // HEADS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT_LENGTH,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(END_OF_TURN),
        "pad_token_id": tokenizer.token_to_id(PADDING),
    }


def tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_LENGTH,
        "clean_up_tokenization_spaces": False,
        "bos_token": None,
        "eos_token": END_OF_TURN,
        "pad_token": PADDING,
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, object]:
    return {
        "do_sample": True,
        "temperature": 1.0,
        "eos_token_id": tokenizer.token_to_id(END_OF_TURN),
        "pad_token_id": tokenizer.token_to_id(PADDING),
    }


def random_weights(seed: int, *, layers: int, hidden: int, vocabulary: int) -> Weights:
    """Matrices N(0, 1/fan_in); those that write to the residual stream are scaled down with depth."""
    random = np.random.default_rng(seed)
    head, feed_forward = hidden // HEADS, 2 * hidden

    def matrix(rows: int, columns: int, deviation: float | None = None) -> NDArray[np.float32]:
        deviation = deviation or columns**-0.5
        return (random.standard_normal((rows, columns)) * deviation).astype(np.float32)

    def ones(size: int) -> NDArray[np.float32]:
        return np.ones(size, dtype=np.float32)

    residual = (2 * layers) ** -0.5
    yield "model.embed_tokens.weight", matrix(vocabulary, hidden, 0.02)
    for layer in range(layers):
        name = f"model.layers.{layer}"
        yield f"{name}.input_layernorm.weight", ones(hidden)
        yield f"{name}.self_attn.q_proj.weight", matrix(HEADS * head, hidden)
        yield f"{name}.self_attn.k_proj.weight", matrix(KEY_VALUE_HEADS * head, hidden)
        yield f"{name}.self_attn.v_proj.weight", matrix(KEY_VALUE_HEADS * head, hidden)
        yield f"{name}.self_attn.o_proj.weight", matrix(hidden, HEADS * head) * np.float32(residual)
        yield f"{name}.self_attn.q_norm.weight", ones(head)
        yield f"{name}.self_attn.k_norm.weight", ones(head)
        yield f"{name}.post_attention_layernorm.weight", ones(hidden)
        yield f"{name}.mlp.gate_proj.weight", matrix(feed_forward, hidden)
        yield f"{name}.mlp.up_proj.weight", matrix(feed_forward, hidden)
        yield f"{name}.mlp.down_proj.weight", matrix(hidden, feed_forward) * np.float32(residual)
    yield "model.norm.weight", ones(hidden)
