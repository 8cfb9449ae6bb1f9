"""Whether everything that a client saw acknowledged is still there.

A journal is a file of JSON lines that a client writes after each acknowledgment:

    {"episode_id": "ep_1", "turn_id": "turn_7", "tokens_sha256": "9f…"}
    {"episode_id": "ep_1", "reward": 1.0, "name": "reward", "turn_id": null, "choice": null, "idempotency_key": "k"}

Only `episode_id` and either `turn_id` or `reward` are required. `tokens_sha256` is the digest of the output's token ids as
little-endian int32, of all choices one after the other.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from rollout.audit.offender import Offender, Suspects
from rollout.episode.reward import RewardPlace
from rollout.episode.turn import MalformedTurn, decode_turn
from rollout.ledger.records import LedgerEpisode
from rollout.store.inspection import EpisodeInspection


class JournalUnreadable(ValueError):
    """The message names the line."""


class JournalLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One acknowledged turn, or one acknowledged reward."""

    episode_id: str
    turn_id: str | None = None
    tokens_sha256: str | None = None
    reward: float | None = None
    name: str = "reward"
    choice: int | None = None
    idempotency_key: str | None = None

    @property
    def field(self) -> str:
        """The place of its reward."""
        return RewardPlace(self.turn_id, self.choice, self.name).field


def read_journal(lines: Iterable[bytes]) -> Iterator[JournalLine]:
    """The lines, except a last one that a killed client left unfinished."""
    for number, line in enumerate(lines, 1):
        try:
            read = msgspec.json.decode(line, type=JournalLine)
        except msgspec.DecodeError as error:
            if not line.endswith(b"\n"):
                return
            raise JournalUnreadable(f"journal, line {number}: {error}") from error
        if read.reward is None and read.turn_id is None:
            raise JournalUnreadable(f"journal, line {number}: neither turn_id nor reward")
        yield read


def check_journal(
    lines: Iterable[JournalLine], episode: EpisodeInspection, row: LedgerEpisode | None
) -> list[Offender]:
    """The lines of one episode that store and ledger do not bear out."""
    suspects = Suspects("episode", episode.id)
    acknowledged = list(lines)
    if episode.turn_ids or episode.reward_log:
        for line in acknowledged:
            if line.reward is None:
                _check_turn(line, episode, suspects)
            else:
                _check_reward(line, episode, suspects)
    elif "deleted" not in (episode.disposition, row.disposition if row else ""):
        _check_row(acknowledged, row, suspects)
    return suspects.found


def _check_turn(line: JournalLine, episode: EpisodeInspection, suspects: Suspects) -> None:
    turn_id = line.turn_id or ""
    if turn_id not in episode.turn_ids:
        suspects.name("turn", turn_id, f"an acknowledged turn of {episode.id}", "none")
    elif line.tokens_sha256 is not None:
        found = _digest(episode.turns[episode.turn_ids.index(turn_id)])
        if found != line.tokens_sha256:
            suspects.name("turn", turn_id, f"tokens with digest {line.tokens_sha256}", found)


def _check_reward(line: JournalLine, episode: EpisodeInspection, suspects: Suspects) -> None:
    entries = [
        msgspec.msgpack.decode(data, type=tuple[str, str, str, int]) for data in episode.reward_log
    ]
    given = [(field, float(value)) for _, field, value, _ in entries]
    if (line.field, line.reward) not in given:
        place = f"{episode.id} {line.field}"
        suspects.name("reward", place, f"the acknowledged value {line.reward:g}", given or "none")
    if line.idempotency_key is not None and line.idempotency_key not in episode.reward_keys:
        place = f"{episode.id} {line.idempotency_key}"
        suspects.name("reward", place, "its idempotent answer", "none")


def _check_row(lines: list[JournalLine], row: LedgerEpisode | None, suspects: Suspects) -> None:
    """The turns have expired; the ledger keeps their number."""
    if row is None:
        for line in lines:
            kind, id_ = (
                ("turn", line.turn_id or "") if line.reward is None else ("reward", line.field)
            )
            suspects.name(kind, id_, f"acknowledged in {line.episode_id}", "lost with its episode")
        return
    turns = {line.turn_id for line in lines if line.reward is None}
    rewards = {line.field for line in lines if line.reward is not None}
    suspects.expect(row.num_turns >= len(turns), f"at least {len(turns)} turns", row.num_turns)
    suspects.expect(
        row.num_rewards >= len(rewards), f"at least {len(rewards)} rewards", row.num_rewards
    )


def _digest(data: bytes) -> str:
    try:
        outputs = decode_turn(data).outputs
    except MalformedTurn as error:
        return str(error)
    return hashlib.sha256(b"".join(output.tokens for output in outputs)).hexdigest()
