"""What gateways of tests read at their start, made once in a process: the model's files and a ledger without rows."""

import tempfile
from functools import cache, lru_cache
from pathlib import Path

from sqlalchemy import create_engine, make_url

from gateway.families.model_files import ModelFiles
from rollout.ledger.database import upgrade


def read_model(model_dir: Path) -> ModelFiles:
    """Read a model directory unless it was read with the same content."""
    found = [(path, path.stat()) for path in sorted(model_dir.rglob("*")) if path.is_file()]
    return _read(model_dir, tuple((p, s.st_ino, s.st_size, s.st_mtime_ns) for p, s in found))


@lru_cache(maxsize=8)
def _read(model_dir: Path, _content: tuple[tuple[Path, int, int, int], ...]) -> ModelFiles:
    return ModelFiles.read(model_dir)


def create_ledger(url: str) -> None:
    """Write the tables of a SQLite ledger that does not exist yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    path = Path(parsed.database)
    if path.parent.is_dir() and not path.exists():
        path.write_bytes(_empty_ledger())


@cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            upgrade(connection)
        engine.dispose()
        return path.read_bytes()
