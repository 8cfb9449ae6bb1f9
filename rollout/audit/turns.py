"""Whether an episode's turns are all there: log, ids, the index of turn ids, and the counts in its header."""

from rollout.audit.offender import Suspects
from rollout.episode.turn import MalformedTurn, Turn, decode_turn
from rollout.store.inspection import EpisodeInspection


def check_turns(episode: EpisodeInspection, suspects: Suspects) -> None:
    """Deleted episodes keep their counts without their turns."""
    if episode.status == "discarded" and not episode.turns and not episode.turn_ids:
        return
    num_turns = episode.number("turns")
    suspects.same("turns in its log, by its header:", num_turns, len(episode.turns))
    suspects.same("ids of turns, by its header:", num_turns, len(episode.turn_ids))
    for turn_id, owner in zip(episode.turn_ids, episode.turn_owners, strict=True):
        if owner != episode.id:
            expected = f"episode {episode.id} in the index of turns"
            suspects.name("turn", turn_id, expected, owner or "nothing")
    turns = _decoded(episode, suspects)
    if not num_turns == len(turns) == len(episode.turns):  # named already
        return
    for ordinal, (turn, turn_id) in enumerate(zip(turns, episode.turn_ids, strict=False)):
        if turn.id != turn_id:
            suspects.name("turn", turn_id, f"turn {ordinal} of {episode.id}", turn.id)
    _check_counts(episode, turns, suspects)


def _decoded(episode: EpisodeInspection, suspects: Suspects) -> list[Turn]:
    turns = []
    for ordinal, data in enumerate(episode.turns):
        try:
            turns.append(decode_turn(data))
        except MalformedTurn as error:
            suspects.name("turn", f"{episode.id}[{ordinal}]", "a turn record", error)
    return turns


def _check_counts(episode: EpisodeInspection, turns: list[Turn], suspects: Suspects) -> None:
    trainable = [turn.trainable_outputs for turn in turns]
    counted = {
        "output_tokens": sum(turn.num_output_tokens for turn in turns),
        "trainable_turns": sum(any(o.num_tokens for o in outputs) for outputs in trainable),
        "trainable_tokens": sum(o.num_tokens for outputs in trainable for o in outputs),
    }
    for field, number in counted.items():
        suspects.same(f"{field} of its turns in its header:", number, episode.number(field) or 0)
    is_held_out = episode.header.get("kind") == "side"
    versions = [
        version
        for turn, outputs in zip(turns, trainable, strict=True)
        if is_held_out or any(o.num_tokens for o in outputs)
        for version in turn.versions
    ]
    for field, version in (
        ("min_version", min(versions, default=None)),
        ("max_version", max(versions, default=None)),
    ):
        suspects.same(f"{field} of its turns in its header:", version, episode.number(field))
