"""An episode drawn for a terminal: the facts about it, then its tree of spans or the rows that train.

Each span has a sign, so that the picture can be read without colors; a branch is indented under the span at which it starts.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from statistics import fmean

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from deploy.cli.shown_text import shown
from deploy.gateway_api.episode import Branch, Episode, Reward, Row, Segment, Span, branches

SIGNS = {
    "trained": ("●", "bold green"),
    "untrained": ("✕", "bold red"),
    "context": ("○", "blue"),
    "forced": ("◇", "bold yellow"),
}
MEANINGS = {
    "trained": "sampled, trains",
    "untrained": "sampled, does not",
    "context": "context",
    "forced": "forced on the model",
}
DEEPEST = 4  # levels of branches drawn in place; each takes eight columns
NOTES = """\
row: the sequence it trains in (--sequences); logprob: mean; v: policy version
⏎ line break   ⇥ tab   · space at the end of a line   ⟨U+…⟩ other invisible"""
TEXTS = {"trained": "green", "untrained": "red", "context": "", "forced": "yellow"}
ENDINGS = {"trained": "green", "discarded": "red"}


class Picture:
    """One episode; `whole` leaves no text out."""

    def __init__(self, episode: Episode, *, whole: bool = False) -> None:
        self._episode = episode
        self._whole = whole

    def tree(self) -> RenderableType:
        """The facts, and below them every distinct token once."""
        if self._episode.has_expired:
            return Group(self.facts(), Text("\nIts tokens have expired."))
        drawn = [Tree(Text("Tokens, each once", "bold"), guide_style="dim")]
        roots = branches(self._episode.tokens)
        deep: list[Branch] = []
        for number, root in enumerate(roots, start=1):
            title = Text(f"conversation {number} of {len(roots)}", "bold")
            self._hang(root, drawn[0] if len(roots) == 1 else drawn[0].add(title), deep=deep)
        for number, branch in enumerate(deep, start=1):  # drawing one may add more
            drawn.append(Tree(Text(f"\nBranch {number}", "bold"), guide_style="dim"))
            self._hang(branch, drawn[-1], deep=deep)
        return Group(self.facts(), "", *drawn, "", legend())

    def rows(self) -> RenderableType:
        """The facts, and below them the sequences that a trainer receives, what trains in them highlighted."""
        if self._episode.has_expired:
            return Group(self.facts(), Text("\nIts tokens have expired."))
        drawn = [
            part for number in range(len(self._episode.sequences)) for part in self._row(number)
        ]
        return Group(self.facts(), *drawn, "", legend())

    def facts(self) -> RenderableType:
        """What is known about the whole episode."""
        table = Table.grid(padding=(0, 2))
        for name, value in _facts(self._episode):
            table.add_row(Text(name, "dim"), value)
        return Group(
            Text(f"Episode {self._episode.id}", "bold"), Padding(table, (0, 0, 0, 2), expand=False)
        )

    def _hang(self, branch: Branch, below: Tree, *, deep: list[Branch], depth: int = 0) -> None:
        """Draw a branch and the branches that start on it; those too deep for the width are collected in `deep`."""
        for span in branch.spans:
            node = below.add(self._span(span))
            for leaving in branch.leaving[span.id]:
                if depth < DEEPEST:
                    self._hang(leaving, node.add(_fork(span, leaving)), deep=deep, depth=depth + 1)
                else:
                    deep.append(leaving)
                    node.add(_fork(span, leaving).append(f": see branch {len(deep)}"))

    def _span(self, span: Span) -> RenderableType:
        kind = span.kind if span.kind != "sampled" else "trained" if span.trains else "untrained"
        return self._block(kind, len(span.tokens), span.text, self._facts_of(span))

    def _facts_of(self, span: Span) -> Iterator[str | Text]:
        if span.kind == "sampled":
            yield from self._facts_of_output(span)
        if span.media:
            yield f"{len(span.media)} image{'s' * (len(span.media) != 1)}"
        for flag in span.flags:
            if flag != span.orphaned:
                yield Text(flag.replace("_", " "), "yellow")

    def _facts_of_output(self, span: Span) -> Iterator[str | Text]:
        episode = self._episode
        yield from _rows_of(span, len(episode.sequences))
        yield episode.name_of(span)
        yield from _logprob(span.behavior_logprobs or [])
        yield from _versions([v for v, start, end in span.versions for _ in range(start, end)])
        yield from _advantages(episode.advantages(span))
        for reward in episode.rewards_of(span):
            yield Text(f"reward {reward.value:+g} {reward.name}", "bold magenta")

    def _row(self, number: int) -> Iterator[RenderableType]:
        row = self._episode.sequences[number]
        title = f"Row {number + 1} of {len(self._episode.sequences)}"
        yield Text(f"\n{title} · {len(row.ids):,} tokens, {sum(row.action_mask):,} train", "bold")
        for segment in row.segments:
            kind = "context" if segment.turn is None else "trained"
            facts = _facts_of_segment(row, segment)
            size = segment.end - segment.start
            yield Padding(self._block(kind, size, segment.text, facts), (0, 0, 0, 2))

    def _block(
        self, kind: str, size: int, text: str, facts: Iterator[str | Text]
    ) -> RenderableType:
        sign, style = SIGNS[kind]
        name = kind if kind in ("context", "forced") else "sampled"
        unit = "token" if size == 1 else "tokens"
        heading = Text.assemble(
            (f"{sign} {name}", style), f" {size:,} {unit}", overflow="fold", no_wrap=False
        )
        for fact in facts:
            heading.append(" · ", "dim").append(fact)
        body = shown(text, style=TEXTS[kind], whole=self._whole)
        return Group(heading, Padding(body, (0, 0, 0, 2), expand=False)) if size else heading


def legend() -> Text:
    """What the signs mean."""
    parts = [Text.assemble(SIGNS[kind], f" {meaning}") for kind, meaning in MEANINGS.items()]
    signs = Text("   ", overflow="fold", no_wrap=False).join(parts)
    return signs.append(f"\n{NOTES}", "dim")


def _facts(episode: Episode) -> Iterator[tuple[str, RenderableType]]:
    status = [episode.ending] if episode.status == "trained" else [episode.status, episode.ending]
    yield "status", Text(", ".join(filter(None, status)), ENDINGS.get(episode.status, "yellow"))
    if episode.task_id:
        yield "task", Text(episode.task_id)
    if episode.group_id:
        yield "group", Text(episode.group_id)
    yield "opened", Text(_when(episode))
    yield "reward", _reward(episode)
    yield "turns", Text(str(episode.num_turns))
    if episode.tokens:
        yield "tokens", Text(_tokens(episode))
    if credit := episode.trained_advantages():
        yield "advantage", Text(_spread(credit, "+.3g"))


def _when(episode: Episode) -> str:
    opened = datetime.fromtimestamp(episode.created, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if not episode.sealed:
        return opened
    how = f", {episode.outcome}" if episode.outcome else ""
    cut = ", truncated" if episode.truncated else ""
    return f"{opened}, sealed after {episode.sealed - episode.created} s{how}{cut}"


def _reward(episode: Episode) -> Text:
    if episode.reward is None:
        return Text("none yet", "dim")
    total = Text(f"{episode.reward:+g}", "bold magenta")
    given = [
        f"{reward.value:+g} {reward.name}{_for_turn(reward, episode)}" for reward in episode.rewards
    ]
    is_all = len(given) == 1 and episode.rewards[0].turn_id is None
    return total if is_all else Text.assemble(total, f" = {', '.join(given)}")


def _for_turn(reward: Reward, episode: Episode) -> str:
    if reward.turn_id is None:
        return ""
    choice = "" if reward.choice_index is None else f" choice {reward.choice_index}"
    return f" for turn {episode.turn_numbers.get(reward.turn_id, '?')}{choice}"


def _tokens(episode: Episode) -> str:
    trained = sum(sum(row.action_mask) for row in episode.sequences)
    rows = len(episode.sequences)
    distinct = sum(len(span.tokens) for span in episode.tokens)
    lost = [f"{count} {reason.replace('_', ' ')}" for reason, count in episode.orphans().items()]
    does_not = f"; {', '.join(lost)} do not" if lost else ""
    return f"{distinct:,} distinct; {trained:,} sampled ones train in {rows} row{'s' * (rows != 1)}{does_not}"


def _fork(span: Span, leaving: Branch) -> Text:
    size = len(span.tokens)
    where = "" if leaving.offset == size else f" after {leaving.offset:,} of {size:,} tokens"
    return Text(f"branch{where}", "bold", overflow="fold", no_wrap=False)


def _rows_of(span: Span, num_rows: int) -> Iterator[str | Text]:
    if span.orphaned:
        yield Text(f"does not train: {span.orphaned.replace('_', ' ')}", "red")
    elif len(span.rows) == 1 and num_rows > 1:
        yield f"row {span.rows[0][0] + 1}"
    elif len(span.rows) > 1:
        yield ", ".join(
            f"tokens {start + 1}-{end} in row {row + 1}" for row, start, end in span.rows
        )


def _facts_of_segment(row: Row, segment: Segment) -> Iterator[str | Text]:
    if segment.turn is None:
        return
    here = segment.tokens
    yield f"turn {segment.turn + 1}"
    yield from _logprob(row.behavior_logprobs[here])
    yield from _versions(row.versions[here])
    yield from _advantages((row.advantages or [])[here])


def _logprob(logprobs: Sequence[float]) -> Iterator[str]:
    if logprobs:
        yield f"logprob {fmean(logprobs):.2f}"


def _versions(versions: Sequence[int]) -> Iterator[str]:
    runs = [(version, len(list(run))) for version, run in groupby(versions)]
    if len(runs) == 1:
        yield f"v{runs[0][0]}"
    elif runs:
        yield ", ".join(f"v{version} × {count}" for version, count in runs)


def _advantages(values: Sequence[float]) -> Iterator[Text]:
    if values:
        yield Text(f"advantage {_spread(values, '+.3g')}", "magenta")


def _spread(values: Sequence[float], form: str) -> str:
    low, high = min(values), max(values)
    if low == high:
        return f"{low:{form}}"
    return f"{fmean(values):{form}} ({low:{form}} to {high:{form}})"
