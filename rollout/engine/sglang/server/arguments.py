"""The server's command line, and its translation into SGLang's."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rollout.engine.sglang.server.grammars.limits import MAX_WHITESPACE


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a wrong one ends the process with code 2, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m rollout.engine_server",
        description="Serve one model with SGLang, on a GPU if there is one.",
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="Hugging Face directory to serve")
    add("--host", default="127.0.0.1")
    add("--port", type=int, required=True, help="0 takes a free one; see --ready-file")
    add("--weight-version", type=int, default=0, help="policy version of the model")
    add("--admin-key-env", metavar="NAME", help="environment variable with the key of every route")
    add("--context-length", type=int, help="tokens; the model's own limit if not given")
    add(
        "--max-total-tokens",
        type=int,
        help="tokens in the key-value cache; as many as fit a GPU, 32768 on a CPU",
    )
    add("--max-running-requests", type=int, default=64)
    add("--ready-file", type=Path, help="gets the server's host and port as JSON once it serves")
    add("extra", nargs="*", metavar="-- SGLANG_ARGUMENT", help="passed on to SGLang as it is")
    return parser.parse_args(argv)


def sglang_arguments(
    arguments: argparse.Namespace, *, port: int, device: Sequence[str]
) -> list[str]:
    """These options under SGLang's names; SGLang takes the last of two equal options."""
    translated = [
        *("--model-path", str(arguments.model), "--host", arguments.host, "--port", str(port)),
        *("--weight-version", str(arguments.weight_version)),
        *("--max-running-requests", str(arguments.max_running_requests)),
        *("--constrained-json-max-whitespace-cnt", str(MAX_WHITESPACE)),
        *("--load-format", "safetensors"),  # the others can be pickles, which run code
        *("--incremental-streaming-output", "--enable-metrics", "--log-level-http", "warning"),
        *device,
    ]
    if arguments.context_length:
        translated += ["--context-length", str(arguments.context_length)]
    if arguments.max_total_tokens:
        translated += ["--max-total-tokens", str(arguments.max_total_tokens)]
    return [*translated, *arguments.extra]
