"""Reads data sets: rows in memory, JSON Lines, JSON, Parquet, and directories in Hugging Face's layouts.

Parquet and names on the Hugging Face hub need the extra `datasets`; everything else needs nothing.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from turngate.datasets.row import (
    ANSWERS,
    IDS,
    QUESTIONS,
    Row,
    as_text,
    final_answer,
    without_thousands,
)
from turngate.errors import DatasetInvalid
from turngate.sdks import needed

Dataset = str | Path | Iterable[Row] | Iterable[Mapping[str, object]]

KINDS = (".jsonl", ".json", ".parquet")
# `train.jsonl`, `train-00000-of-00001.parquet`
SPLIT = re.compile(r"(?P<split>\w+?)(-\d+-of-\d+)?\.(jsonl|json|parquet)")


def load_rows(
    dataset: Dataset,
    *,
    question: str | None = None,
    answer: str | None = None,
    id: str | None = None,
    config: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    r"""Rows of a data set. Fields that are not named are found by the names that data sets commonly give them.

    A row without an id has its number. The answer is the final one: what follows `####`, or is in a `\boxed{}`.
    """
    records: Iterable[Row | Mapping[str, object]] = (
        _read(dataset, config=config, split=split) if isinstance(dataset, str | Path) else dataset
    )
    rows = [
        record
        if isinstance(record, Row)
        else _row(record, number, question=question, answer=answer, id=id)
        for number, record in enumerate(islice(records, limit))
    ]
    if not rows:
        raise DatasetInvalid(f"the data set {_name(dataset)} has no rows")
    if len({row.id for row in rows}) < len(rows):
        raise DatasetInvalid(
            f"two rows of {_name(dataset)} have the same id; name another field with id=…"
        )
    return rows


def _row(
    record: Mapping[str, object],
    number: int,
    *,
    question: str | None,
    answer: str | None,
    id: str | None,
) -> Row:
    if not isinstance(record, Mapping):
        raise DatasetInvalid(f"row {number} is no object but {type(record).__name__}")
    asked = _field(record, question, QUESTIONS)
    if asked is None:
        raise DatasetInvalid(
            f"row {number} has no question; name its field with question=… (it has {', '.join(record)})"
        )
    expected, key = _field(record, answer, ANSWERS), _field(record, id, IDS)
    return Row(
        id=str(number) if key is None else as_text(record[key]),
        question=as_text(record[asked]),
        answer=""
        if expected is None
        else without_thousands(final_answer(as_text(record[expected]))),
        fields=dict(record),
    )


def _field(record: Mapping[str, object], named: str | None, usual: Sequence[str]) -> str | None:
    if named is not None and named not in record:
        raise DatasetInvalid(f"there is no field {named}; the row has {', '.join(record)}")
    return named or next((name for name in usual if name in record), None)


def _read(
    dataset: str | Path, *, config: str | None, split: str | None
) -> Iterable[Mapping[str, object]]:
    path = Path(dataset)
    if path.is_dir():
        files = _files(path / config if config else path, split)
    elif path.exists():
        files = [path]
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", str(dataset)):
        yield from _from_hub(str(dataset), config, split)
        return
    else:
        raise DatasetInvalid(
            f"there is no {path}; name a file, a directory or a data set of the hub"
        )
    for file in files:
        yield from _records(file)


def _files(directory: Path, split: str | None) -> list[Path]:
    """The files of one split, at one place of the directory."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for file in sorted(directory.rglob("*")):
        name = SPLIT.fullmatch(file.name)
        if name and (split is None or name["split"] == split):
            found.setdefault((file.parent, name["split"]), []).append(file)
    if len(found) == 1:
        return next(iter(found.values()))
    places = ", ".join(str(place.relative_to(directory) / name) for place, name in found)
    if not found:
        raise DatasetInvalid(
            f"{directory} has no {split or 'train'} in {', '.join(KINDS)}; say which split=… to read"
        )
    raise DatasetInvalid(f"{directory} has {places}; choose with split=… or config=…")


def _records(file: Path) -> Iterable[Mapping[str, object]]:
    if file.suffix == ".parquet":
        with needed("datasets", f"reading {file.name}"):
            from pyarrow.parquet import read_table  # noqa: PLC0415
        rows: list[dict[str, object]] = read_table(file).to_pylist()
        return rows
    text = file.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        listed: list[dict[str, object]] = json.loads(text)
        return listed
    return [
        _record(file, number, line)
        for number, line in enumerate(text.split("\n"), 1)  # JSON may hold U+2028 as it is
        if line.strip()
    ]


def _record(file: Path, number: int, line: str) -> dict[str, object]:
    try:
        record: dict[str, object] = json.loads(line)
    except ValueError as error:
        raise DatasetInvalid(f"{file}, line {number}: {error}") from None
    return record


def _from_hub(name: str, config: str | None, split: str | None) -> Iterable[Mapping[str, object]]:
    with needed("datasets", f"reading {name} from the Hugging Face hub"):
        from datasets import load_dataset  # noqa: PLC0415
    if split is None:
        raise DatasetInvalid(f"say which split=… of {name} to read")
    loaded: Iterable[Mapping[str, object]] = load_dataset(name, config, split=split)
    return loaded


def _name(dataset: Dataset) -> str:
    return str(dataset) if isinstance(dataset, str | Path) else "in memory"
