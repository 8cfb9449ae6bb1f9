"""Whether an episode's rewards are what its log of rewards gives, and every idempotent answer is in that log."""

import msgspec

from rollout.audit.offender import Suspects
from rollout.store.inspection import EpisodeInspection

# As `reward.lua` packs them: (time, field, value, amended), and (field, value, time, amended).
Entry = tuple[str, str, str, int]
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


def check_rewards(episode: EpisodeInspection, suspects: Suspects) -> None:
    """Replays the log; later entries for a place replace earlier ones."""
    values: dict[str, str] = {}
    entries = set()
    for ordinal, data in enumerate(episode.reward_log):
        entry = _decoded(data)
        if entry is None:
            place = f"{episode.id}[{ordinal}]"
            suspects.name("reward", place, "an entry of the log of rewards", "something else")
            return
        _, field, value, amended = entry
        if bool(amended) != (field in values):
            expected = f"entry {ordinal} to say whether it amends"
            suspects.name("reward", f"{episode.id} {field}", expected, amended)
        values[field] = value
        entries.add(entry)
    for field in sorted(values.keys() | episode.rewards.keys()):
        expected, found = values.get(field, "none"), episode.rewards.get(field, "none")
        if expected != found:
            suspects.name("reward", f"{episode.id} {field}", f"{expected}, by the log", found)
    suspects.same("rewards in its header:", len(values), episode.number("rewards"))
    _check_answers(episode, entries, suspects)


def _check_answers(episode: EpisodeInspection, entries: set[Entry], suspects: Suspects) -> None:
    for key, data in sorted(episode.reward_keys.items()):
        answer = _decoded(data)
        if answer is None:
            suspects.name("reward", f"{episode.id} {key}", "an idempotent answer", "something else")
            continue
        field, value, created, amended = answer
        if (created, field, value, amended) not in entries:
            suspects.name("reward", f"{episode.id} {key}", "its answer in the log", "no such entry")


def _decoded(data: bytes) -> Entry | None:
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return None
