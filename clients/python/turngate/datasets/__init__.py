"""Questions with their reference answers, from files or from memory."""

from turngate.datasets.reading import Dataset, load_rows
from turngate.datasets.row import Row, final_answer

__all__ = ["Dataset", "Row", "final_answer", "load_rows"]
