"""The outcomes as Markdown: a row for each algorithm, a column for each staleness."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from tests.study.cells import ALGORITHMS, STALENESS, Recipe
from tests.study.interval import Interval
from tests.study.outcome import Outcome
from trainer.composition.composition import Composition

Cells = Mapping[tuple[str, int], Sequence[Outcome]]  # (algorithm, staleness) -> by seed
BASELINE = next(iter(ALGORITHMS))


def document(outcomes: Sequence[Outcome], recipe: Recipe, *, command: str, picture: str) -> str:
    """All that the study found, in numbers."""
    cells = by_cell(outcomes)
    seeds = sorted({outcome.run.seed for outcome in outcomes})
    sections = [
        "# Off-policy study",
        f"Made by `{command}`; do not edit. {setting(recipe, len(seeds))}",
        f"![held-out success by staleness, with intervals]({picture})",
        "## What is compared",
        compositions(),
        "## Held-out success at the end, %",
        matrix(cells, lambda them: str(Interval.of([it.final for it in them]))),
        "## Held-out success over training, %",
        "The area under the curve: it tells fast learners from slow ones where both arrive.",
        matrix(cells, lambda them: str(Interval.of([it.mean for it in them]))),
        f"## Over training, against {BASELINE}, percentage points",
        "Differences between runs of the same seed, which share tasks and chances; bold where the interval excludes 0.",
        differences(cells),
        "## What the updates saw",
        "Effective sample size of the ratios current / behavior, 0 to 1; tokens that a clip, a band or a mask kept from training; updates that moved weights. Means over seeds.",
        matrix(cells, seen),
        "## Runs that ended below where they began",
        matrix(cells, lambda them: f"{sum(it.has_collapsed for it in them)} of {len(them)}"),
    ]
    return "\n\n".join(sections) + "\n"


def by_cell(outcomes: Sequence[Outcome]) -> Cells:
    ordered = sorted(outcomes, key=lambda outcome: outcome.run.seed)
    return {
        (algorithm, staleness): them
        for algorithm in ALGORITHMS
        for staleness in STALENESS
        if (
            them := [
                outcome
                for outcome in ordered
                if (outcome.run.algorithm, outcome.run.staleness) == (algorithm, staleness)
            ]
        )
    }


def setting(recipe: Recipe, num_seeds: int) -> str:
    return (
        f"Every run: {recipe.updates} updates of {recipe.groups} groups of {recipe.group_size} episodes of the demo's task, "
        f"from the demo's starter, learning rate {recipe.learning_rate:g}; {recipe.held_out} held-out tasks "
        f"after every {recipe.evaluate_every} updates; {num_seeds} seeds, mean ± the 95 % interval of Student's t.\n\n"
        "The data of update t were sampled by the policy after update max(0, t - staleness): at staleness 64 "
        "the starter plays all that is trained on up to update 64. A batch whose rewards teach nothing moves no weight "
        "and counts as an update. The learner is the trainer's own; transformers samples, not the engine, "
        "with logprobs that agree with the learner's: what is measured is staleness, not the mismatch of two engines."
    )


def compositions() -> str:
    lines = [
        f"| {name} | `{parts.policy_loss}` {bounds(parts)} | `{parts.proximal}` | {weight(parts)} |"
        for name, parts in ALGORITHMS.items()
    ]
    head = ("algorithm", "loss", "ratio from (`proximal`)", "importance weight (`correction`)")
    return table(head, lines)


def bounds(parts: Composition) -> str:
    match parts.policy_loss:
        case "cispo":
            return f"{parts.ratio_max:g}"
        case "m2po":
            return f"{parts.m2po_threshold:g}"
        case _:
            return f"{parts.clip_low:g} / {parts.clip_high:g}"


def weight(parts: Composition) -> str:
    if parts.correction == "none":
        return "`none`"
    return f"`{parts.correction}` {parts.correction_low:g} to {parts.correction_high:g}"


def matrix(cells: Cells, show: Callable[[Sequence[Outcome]], str]) -> str:
    """`show` of each cell; an empty place where it has not been run."""
    lines = [
        f"| {algorithm} | "
        + " | ".join(
            show(cells[algorithm, staleness]) if (algorithm, staleness) in cells else ""
            for staleness in STALENESS
        )
        + " |"
        for algorithm in ALGORITHMS
    ]
    return table(("", *(f"staleness {staleness}" for staleness in STALENESS)), lines)


def differences(cells: Cells) -> str:
    def show(them: Sequence[Outcome]) -> str:
        run = them[0].run
        if run.algorithm == BASELINE or (BASELINE, run.staleness) not in cells:
            return ""
        base = {it.run.seed: it.mean for it in cells[BASELINE, run.staleness]}
        shared = [it.mean - base[it.run.seed] for it in them if it.run.seed in base]
        interval = Interval.of(shared)
        return f"**{interval}**" if interval.excludes_zero else str(interval)

    return matrix(cells, show)


def seen(them: Sequence[Outcome]) -> str:
    size = fmean(it.effective_sample_size for it in them)
    silent = fmean(it.silent for it in them)
    return f"{size:.2f}, {100 * silent:.1f} %, {fmean(it.trained for it in them):.0f}"


def table(head: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])
