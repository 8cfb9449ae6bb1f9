"""The begin of a turn: its episode is opened if it is new, and what other gateways added to it is read."""

from collections.abc import Iterator
from typing import NamedTuple

import anyio

from gateway.attach.episode_histories import EpisodeHistories
from gateway.attach.episode_history import EpisodeHistory
from gateway.request.request import Reply
from gateway.turn.recorded_reply import decode_reply
from gateway.turn.running_turn import Call
from rollout.episode.episode_records import BegunTurn, EpisodeSpec, EpisodeSummary, HistoryPolicy
from rollout.errors import DamagedEpisode
from rollout.store.redis_decoding import UNREADABLE

JOIN_SECONDS, MAX_JOIN_SECONDS = 0.03, 0.5  # between two looks at a call that is being sampled


class Begun(NamedTuple):
    """A turn to sample, or the recorded reply of a call that is repeated."""

    history: EpisodeHistory
    since: int  # how many turns the episode had
    recorded: Reply | None = None
    opening: EpisodeSpec | None = None  # of an episode that the commit of the turn opens


def begin_without_episode(call: Call) -> Begun:
    """Begin the first turn of an episode that nobody can ask for before the turn is recorded, so that one write does for both."""
    policy = call.address.history or HistoryPolicy.STICKY
    summary = EpisodeSummary(call.address.episode_id, 0, policy, 0)
    return Begun(EpisodeHistory(summary), 0, opening=_episode_spec(call))


async def begin(call: Call, histories: EpisodeHistories) -> Begun:
    """Begin a turn, or wait for the reply of a call that is being sampled for another attempt."""
    episode_id, project = call.address.episode_id, call.project
    since = histories.num_known_turns(project, episode_id)
    begun_in: EpisodeSummary | None = None
    waits = _waits()
    while True:
        began = await call.store.begin(
            _episode_spec(call), since=since, attempt=call.attempt, begun_in=begun_in
        )
        if began.is_being_sampled:
            await anyio.sleep(next(waits))
            continue
        try:
            history = histories.bring_up_to_date(
                project, began.header, since=since, turns=began.turns
            )
            if history is not None:
                return Begun(history, began.header.num_turns, _recorded(began, call, history))
        except DamagedEpisode as error:  # discarded, so the next try says that it is sealed
            await call.store.set_aside(error)
        begun_in = None if began.reply else began.header
        since = 0  # this gateway no longer remembers the turns, or the episode was deleted and opened again


def _waits() -> Iterator[float]:
    """Seconds between two looks at a call that another attempt samples."""
    wait = JOIN_SECONDS
    while True:
        yield wait
        wait = min(1.5 * wait, MAX_JOIN_SECONDS)


def _recorded(began: BegunTurn, call: Call, history: EpisodeHistory) -> Reply | None:
    """The reply that the call got the first time, if it is a repeated one."""
    if not began.reply:
        return None
    try:
        return decode_reply(began.reply, history.trie, with_ids=call.request.return_token_ids)
    except UNREADABLE as error:
        raise DamagedEpisode(began.header.id, f"replies: {error!r}") from error


def _episode_spec(call: Call) -> EpisodeSpec:
    address = call.address
    return EpisodeSpec(
        id=address.episode_id,
        group_id=address.group_id,
        group_size=address.group_size,
        kind=address.kind,
        key_id=call.key_id,
        history=address.history,
        is_named=address.is_named,
        max_group_size=address.max_group_size,
        max_open_episodes=call.max_open_episodes,
        is_trained=call.is_trained,
    )
