"""What a worker gets from its parent on its command line: open descriptors, and its place among the workers."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple, Self


class Inheritance(NamedTuple):
    api: int
    metrics: int
    api_counts: int
    metrics_counts: int
    parent: int
    place: int

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Self:
        parser = argparse.ArgumentParser()
        for name in cls._fields:
            parser.add_argument(f"--{name}", type=int, required=True)
        return cls(**vars(parser.parse_args(arguments)))

    @property
    def arguments(self) -> list[str]:
        return [f"--{name}={value}" for name, value in self._asdict().items()]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that the worker's process must not close."""
        return self[:-1]
