"""The file from which an interrupted run resumes: JSON Lines, appended to as attempts start and end.

The first line says which run it is. An attempt that has a line with its end is never played again.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO, Self
from uuid import uuid4

from turngate.datasets.row import Row
from turngate.errors import JournalMismatch
from turngate.rollouts.attempt import Attempt

KIND = "turngate-run"


class Journal:
    """What is known of a run. Without a file it is known in memory only."""

    def __init__(self, run: str, file: IO[bytes] | None) -> None:
        self.run = run
        self.finished: dict[tuple[str, int], Attempt] = {}
        self.started: dict[tuple[str, int], list[str]] = {}
        """The episodes that were opened for a member, of which the last may have no end."""
        self._numbers: dict[tuple[str, int], int] = {}
        self._file = file

    @classmethod
    def open(
        cls,
        path: str | Path | None,
        rows: Iterable[Row],
        *,
        plan: Mapping[str, object],
        note: Mapping[str, object] | None = None,
    ) -> Self:
        """Begin a run, or resume the one in the file. Raises JournalMismatch if that is a run of other rows or another plan.

        A new run keeps the note beside its plan; it is not compared.
        """
        header = {"kind": KIND, "rows": digest(rows), **plan}
        if path is None:
            return cls(uuid4().hex, None)
        file = Path(path).open("a+b")  # noqa: SIM115 - closed by `close`
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls._read(file, Path(path), header, note or {})
        except BlockingIOError:
            file.close()
            raise JournalMismatch(f"another process writes to {path}; name another file") from None
        except BaseException:
            file.close()
            raise

    @classmethod
    def _read(
        cls, file: IO[bytes], path: Path, header: dict[str, object], note: Mapping[str, object]
    ) -> Self:
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        file.truncate(len(whole))  # a crash may have cut the last line
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            journal = cls(uuid4().hex, file)
            journal._write({**header, **note, "run": journal.run})
            return journal
        first = lines[0]
        if first.get("kind") != KIND:
            raise JournalMismatch(f"{path} is no file of a run; name another file")
        changed = [name for name, value in header.items() if first.get(name) != value]
        if changed:
            raise JournalMismatch(
                f"{path} is the file of a run that differs in {', '.join(changed)}; name another file, or delete it to begin anew"
            )
        journal = cls(str(first["run"]), file)
        for line in lines[1:]:
            journal._remember(line)
        return journal

    def next_number(self, row: str, member: int) -> int:
        """The first that no episode of this member was opened under; some are left out."""
        return self._numbers.get((row, member), -1) + 1

    def start(self, row: Row, member: int, episode: str, *, number: int) -> None:
        line = {"row": row.id, "member": member, "episode": episode, "number": number}
        self._remember({**line, "started": True})
        self._write({**line, "started": True})

    def end(self, attempt: Attempt) -> None:
        """Record an end; it survives a crash from here on."""
        self._remember(asdict(attempt))
        self._write(asdict(attempt))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _remember(self, line: Mapping[str, object]) -> None:
        values = dict(line)
        key = str(values["row"]), int(str(values["member"]))
        if values.pop("started", False):
            opened = self.started.setdefault(key, [])
            opened += [str(values["episode"])] if values["episode"] not in opened else []
            number = int(str(values.get("number", self.next_number(*key))))
            self._numbers[key] = max(number, self._numbers.get(key, 0))
            return
        values["versions"] = tuple(values.get("versions") or ())  # type: ignore[arg-type]
        self.finished[key] = Attempt(**values)  # type: ignore[arg-type]

    def _write(self, line: Mapping[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def header_of(path: str | Path | None) -> dict[str, object]:
    """The first line of a run's file; empty if no run is in it yet."""
    if path is None or not Path(path).exists():
        return {}
    with Path(path).open("rb") as file:
        line = file.readline()
    header: dict[str, object] = json.loads(line) if line.endswith(b"\n") else {}
    return header


def digest(rows: Iterable[Row]) -> str:
    hashed = sha256()
    for row in rows:
        hashed.update(json.dumps([row.id, row.question, row.answer]).encode() + b"\n")
    return hashed.hexdigest()[:16]
