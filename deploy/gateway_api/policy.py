"""A policy as the gateway shows it, and how its weights are copied for another run."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from deploy.data_directory import read_json
from deploy.errors import PolicyUnavailable

MANIFEST = "manifest.json"


class Evaluation(msgspec.Struct, frozen=True):
    mean_reward: float
    episodes: int
    standard_error: float | None

    @property
    def score(self) -> str:
        """`0.94 ± 0.02 (200 episodes)`, with one standard error."""
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        return f"{self.mean_reward:.3g}{error} ({self.episodes} episodes)"


class Policy(msgspec.Struct, frozen=True):
    version: int
    path: str
    created: int
    is_active: bool
    is_on_disk: bool
    is_best: bool
    evaluation: Evaluation | None


def parse_policies(content: dict[str, Any]) -> list[Policy]:
    """The policies of `GET /v1/policies`, the newest first."""
    return msgspec.convert(content["data"], list[Policy])


def best_of(policies: list[Policy]) -> Policy:
    for policy in policies:
        if policy.is_best:
            return policy
    raise PolicyUnavailable(
        "no policy on disk has enough held-out episodes to be the best (TURNGATE_BEST_MIN_EPISODES): "
        "play some with `X-Turngate-Turn-Kind: side` and reward them"
    )


def export(policy: Policy, out: Path) -> None:
    """Copy it to a new directory, which appears only if every file has its published checksum."""
    source = Path(policy.path)
    if out.exists():
        raise PolicyUnavailable(f"{out} exists; name a new directory")
    if not source.is_dir():
        raise PolicyUnavailable(
            f"policy {policy.version} is not at {source}: "
            "name one that `turngate policy list` shows on disk, or export where the trainer writes"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PolicyUnavailable(
            f"{out} cannot be created: {error.strerror}: {error.filename}; name another directory"
        ) from error
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as partial:
        whole = Path(partial) / "policy"
        shutil.copytree(source, whole)
        _compare(whole, policy.version)
        whole.rename(out)


def _compare(copy: Path, version: int) -> None:
    files = read_json(copy / MANIFEST).get("files", {})
    changed = [name for name, file in files.items() if _sha256(copy / name) != file["sha256"]]
    if changed or not files:
        raise PolicyUnavailable(
            f"policy {version} is damaged: {', '.join(changed) or MANIFEST}; export another"
        )


def _sha256(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
