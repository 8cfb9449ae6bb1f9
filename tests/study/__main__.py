"""`python -m tests.study`: what staleness costs, by algorithm.

Every finished run is a line of `runs.jsonl`, and what has its line is not run again: interrupt the study and start it as you like.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from deploy.demo.starter.starter import ensure_starter
from tests.study.cells import Recipe, runs
from tests.study.outcome import Outcome, Outcomes
from tests.study.picture import draw
from tests.study.table import document
from tests.study.training import train_missing

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    options = parser().parse_args()
    recipe = Recipe()
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes = Outcomes(options.out / "runs.jsonl")
    starter = ensure_starter(Path(".turngate/cache"), progress=say)
    missing = outcomes.missing(runs(options.seeds), recipe)
    say(f"{len(missing)} runs to do, {options.workers} at a time")
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        begun = [pool.submit(train_missing, run, recipe, starter, outcomes) for run in missing]
        for number, future in enumerate(as_completed(begun), start=1):
            say(f"{number}/{len(missing)}  {future.result()}")
    publish(outcomes.of(recipe), recipe, options.out)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train every algorithm at every staleness.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, a core each")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser


def publish(outcomes: Sequence[Outcome], recipe: Recipe, directory: Path) -> None:
    """Table and picture of all there is, whichever command ran it."""
    picture = directory / "staleness.svg"
    draw(outcomes, picture)
    text = document(outcomes, recipe, command="make study", picture=picture.name)
    (directory / "README.md").write_text(text)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
