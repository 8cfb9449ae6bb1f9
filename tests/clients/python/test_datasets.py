"""Data sets as they lie on disks: JSON Lines, JSON, and directories as the Hugging Face hub lays them out."""

import json
from pathlib import Path

import pytest

from turngate import Row, load_rows
from turngate.datasets import final_answer
from turngate.errors import DatasetInvalid

GSM8K = [
    {"question": "6 * 7?", "answer": "6 * 7 = <<6*7=42>>42\n#### 42"},
    {"question": "1000 + 234?", "answer": "#### 1,234"},
]


def lines(file: Path, records: list[dict[str, object]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def test_gsm8k_gives_questions_and_final_answers(tmp_path: Path) -> None:
    """What follows `####` is the answer, without separators; the whole solution stays a field."""
    rows = load_rows(lines(tmp_path / "test.jsonl", list(GSM8K)))

    assert [(row.id, row.question, row.answer) for row in rows] == [
        ("0", "6 * 7?", "42"),
        ("1", "1000 + 234?", "1234"),
    ]
    assert rows[0]["answer"] == GSM8K[0]["answer"]


def test_fields_are_found_or_named(tmp_path: Path) -> None:
    """Common names are known, others are said; an array and a byte-order mark are read too."""
    record = {"id": "a", "problem": "p?", "solution": r"so \boxed{\frac{1}{2}}", "level": 3}
    file = tmp_path / "x.json"
    file.write_text("\ufeff" + json.dumps([record]), encoding="utf-8")

    (found,) = load_rows(file)
    (named,) = load_rows([record], question="level", answer="id", id="problem")

    assert (found.id, found.question, found.answer) == ("a", "p?", r"\frac{1}{2}")
    assert (named.id, named.question, named.answer) == ("p?", "3", "a")
    assert load_rows([found]) == [found]


def test_a_directory_is_read_by_split_and_configuration(tmp_path: Path) -> None:
    """Shards of a split are read in order; where several places hold it, one is named."""
    lines(tmp_path / "main" / "train-00000-of-00002.jsonl", [{"question": "1"}])
    lines(tmp_path / "main" / "train-00001-of-00002.jsonl", [{"question": "2"}])
    lines(tmp_path / "main" / "test.jsonl", [{"question": "3"}])
    lines(tmp_path / "socratic" / "test.jsonl", [{"question": "4"}])

    assert [row.question for row in load_rows(tmp_path, split="train")] == ["1", "2"]
    assert [row.question for row in load_rows(tmp_path, split="test", config="main")] == ["3"]
    with pytest.raises(DatasetInvalid, match=r"main/test, socratic/test; choose"):
        load_rows(tmp_path, split="test")
    with pytest.raises(DatasetInvalid, match="no dev"):
        load_rows(tmp_path, split="dev")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "has no rows"),
        ([{"text": "?"}], "row 0 has no question.*it has text"),
        ([{"id": 1, "question": "a"}, {"id": 1, "question": "b"}], "same id"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, records: list[dict[str, object]], message: str
) -> None:
    """Each error says which row or field, and what to do."""
    with pytest.raises(DatasetInvalid, match=message):
        load_rows(lines(tmp_path / "x.jsonl", records))


def test_a_broken_line_and_a_missing_file_are_named(tmp_path: Path) -> None:
    """The message has the file and the line."""
    file = tmp_path / "x.jsonl"
    file.write_text('{"question": "a"}\n{"question"\n')

    with pytest.raises(DatasetInvalid, match=r"x\.jsonl, line 2"):
        load_rows(file)
    with pytest.raises(DatasetInvalid, match="there is no"):
        load_rows(tmp_path / "nothing.jsonl")


def test_a_line_ends_at_a_line_feed_only(tmp_path: Path) -> None:
    """JSON may hold other line separators as they are."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "a\u2028b\x85c"}\r\n{"question": "d"}\n')

    assert [row.question for row in load_rows(file)] == ["a\u2028b\x85c", "d"]


def test_limits_and_missing_fields(tmp_path: Path) -> None:
    """The first rows are enough to try something out; a row tells which fields it has."""
    rows = load_rows(lines(tmp_path / "x.jsonl", list(GSM8K)), limit=1)

    assert len(rows) == 1
    with pytest.raises(KeyError, match="no field tests; it has question, answer"):
        rows[0]["tests"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("a #### b #### c", "c"), (r"\boxed{a{b}c} and \boxed{d", r"\boxed{a{b}c} and \boxed{d")],
)
def test_the_last_marked_answer_counts(text: str, answer: str) -> None:
    """A box that never closes marks nothing."""
    assert final_answer(text) == answer
    assert Row("1", "q").answer == ""
