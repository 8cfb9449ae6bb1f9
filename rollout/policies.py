"""Policies on disk: one whole Hugging Face directory per version, with a manifest of checksums.

    weights/v00000012/config.json tokenizer.json ... model.safetensors manifest.json [adapter/...]

A directory gets its name only when all of it is on disk. Versions are never reused, so an existing directory is never
written again.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rollout.errors import PolicyDamaged, PolicyNotWritten
from rollout.flush import flush

MANIFEST = "manifest.json"
WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth")

WriteWeights = Callable[[Path], None]
"""Puts the weight files into a directory; raises OSError if it cannot."""


class Policy(msgspec.Struct, frozen=True):
    """One published set of weights. The digest is of the files' content: equal weights, equal digest."""

    version: int
    path: str
    parent: int | None
    digest: str
    created: int


class Publication(msgspec.Struct, frozen=True):
    """A policy that was recorded, and the optimizer step that made it; None for a starter or a restored policy."""

    policy: Policy
    step: int | None = None


class _File(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    version: int
    parent: int | None
    created: int
    files: dict[str, _File]

    @property
    def digest(self) -> str:
        lines = [f"{name} {file.sha256}\n" for name, file in sorted(self.files.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


class PolicyStore:
    """The weights directory. One process writes to it, any number read."""

    def __init__(self, weights_dir: Path) -> None:
        self._directory = weights_dir.absolute()

    def write(
        self,
        version: int,
        *,
        parent: int | None,
        base_dir: Path,
        write_weights: WriteWeights,
        created: int,
    ) -> Policy:
        """Publish a version: the caller writes the weights, everything else comes from `base_dir`."""
        path = self._path(version)
        if path.exists():
            raise PolicyNotWritten(str(path), "the version exists, and versions are never reused")
        with self._complete(path) as partial:
            for file in _files_beside_weights(base_dir):
                shutil.copyfile(file, partial / file.name)
            write_weights(partial)
            manifest = _Manifest(version, parent, created, _describe(partial))
            (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        return Policy(version, str(path), parent, manifest.digest, created)

    def adopt(self, model_dir: Path, *, created: int) -> Policy:
        """Publish a model from elsewhere as the starter, version 0; adopting again is no error."""

        def copy_weights(directory: Path) -> None:
            for file in _weight_files(model_dir):
                shutil.copyfile(file, directory / file.name)

        if self._path(0).exists():
            return self.policy(0)
        return self.write(
            0, parent=None, base_dir=model_dir, write_weights=copy_weights, created=created
        )

    def policy(self, version: int) -> Policy:
        """The record of a version that was written."""
        path = self._path(version)
        manifest = _read_manifest(path)
        return Policy(version, str(path), manifest.parent, manifest.digest, manifest.created)

    def versions(self) -> list[int]:
        """Every version on disk, ascending."""
        names = self._directory.glob("v*") if self._directory.is_dir() else ()
        return sorted(int(p.name[1:]) for p in names if re.fullmatch(r"v\d{8,}", p.name))

    def prune(self, *, keep: int, pinned: frozenset[int] = frozenset()) -> list[int]:
        """Delete all but the newest `keep` versions and the pinned ones, and the unfinished directories of a crash."""
        versions = self.versions()
        outdated = [version for version in versions[:-keep] if version not in pinned]
        for version in outdated:
            # Renamed first, so that a reader finds either the complete version or none.
            removed = self._path(version).rename(self._partial(self._path(version)))
            shutil.rmtree(removed)
        for leftover in self._directory.glob(".partial-v*"):
            if versions and leftover.name < self._partial(self._path(versions[-1])).name:
                shutil.rmtree(leftover)
        return outdated

    def _path(self, version: int) -> Path:
        return self._directory / f"v{version:08d}"

    def _partial(self, path: Path) -> Path:
        return path.with_name(f".partial-{path.name}")

    @contextmanager
    def _complete(self, path: Path) -> Iterator[Path]:
        """A directory to fill; it gets its name when the block succeeds, and is deleted when it fails."""
        partial = self._partial(path)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            _flush(partial)
            partial.rename(path)
            flush(path.parent)
        except OSError as error:
            raise PolicyNotWritten(str(path), error.strerror or str(error)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def verify(policy: Policy) -> None:
    """Raise PolicyDamaged unless every file is there, whole, unchanged, and none was added."""
    path = Path(policy.path)
    manifest = _read_manifest(path)
    if manifest.digest != policy.digest:
        raise PolicyDamaged(policy.path, "its manifest is not the one that was published")
    try:
        found = _describe(path)
    except OSError as error:
        raise PolicyDamaged(policy.path, str(error)) from error
    for name in sorted(found.keys() | manifest.files.keys()):
        if found.get(name) != manifest.files.get(name):
            raise PolicyDamaged(policy.path, _difference(name, found, manifest.files))


def _difference(name: str, found: dict[str, _File], expected: dict[str, _File]) -> str:
    if name not in found:
        return f"{name} is missing"
    if name not in expected:
        return f"{name} does not belong to it"
    if found[name].bytes != expected[name].bytes:
        return f"{name} has {found[name].bytes} bytes instead of {expected[name].bytes}"
    return f"the content of {name} changed"


def _read_manifest(path: Path) -> _Manifest:
    try:
        return msgspec.json.decode((path / MANIFEST).read_bytes(), type=_Manifest)
    except OSError as error:
        raise PolicyDamaged(str(path), f"{MANIFEST}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise PolicyDamaged(str(path), f"{MANIFEST}: {error}") from error


def _describe(directory: Path) -> dict[str, _File]:
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p != directory / MANIFEST)
    return {
        file.relative_to(directory).as_posix(): _File(file.stat().st_size, _sha256(file))
        for file in files
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weight_files(directory: Path) -> list[Path]:
    return [p for p in sorted(directory.iterdir()) if p.name.endswith(WEIGHT_SUFFIXES)]


def _files_beside_weights(directory: Path) -> list[Path]:
    """Configuration, tokenizer and template."""
    excluded = (*WEIGHT_SUFFIXES, MANIFEST)
    return [p for p in sorted(directory.iterdir()) if p.is_file() and not p.name.endswith(excluded)]


def _flush(directory: Path) -> None:
    """All its files, then its own entries."""
    for entry in directory.rglob("*"):
        flush(entry)
    flush(directory)
