"""Writes files through to the disk: without this a power cut may keep a name and lose its content."""

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Write a file, or the entries of a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
