"""The transitions of a whole project: policies, training state, counts, deadlines and the ledger's outbox."""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from rollout.episode.episode_records import HistoryPolicy, SettledEpisode
from rollout.errors import DamagedRecord
from rollout.policies import Policy, Publication
from rollout.served_model import ServedModel
from rollout.store.claim_transitions import MAX_DELIVERIES, policy_arguments
from rollout.store.redis_decoding import (
    UNREADABLE,
    Flat,
    Header,
    pairs,
    parse_header,
    parse_record,
    parse_rewards,
)
from rollout.store.totals import Totals, parse_places, parse_totals
from rollout.store.transitions import MOVED_AT_MOST, Transitions, log

SWEEP_LIMIT = 200  # entries of each kind per sweep, so that Redis is never blocked for long


class ProjectTransitions(Transitions):
    """The transitions of neither one episode nor one group."""

    async def next_version(self) -> int:
        """A policy version that was never given out before."""
        return cast("int", await self._run("next_version"))

    async def policy(self) -> Policy | None:
        """The policy that engines should serve: the pinned one, else the one recorded last."""

        async def read() -> Policy | None:
            name, fields = cast("tuple[bytes, Flat]", await self._run("policy"))
            return parse_record(name.decode(), fields, parse_policy)

        return await self._reading(read)

    async def served_model(self) -> ServedModel | None:
        """What engines should serve for this project."""
        policy = await self.policy()
        return None if policy is None else ServedModel(self.project, policy.version)

    async def recorded_policy(self) -> Policy | None:
        """The policy recorded last, whether or not another one is pinned."""

        async def read() -> Policy | None:
            return parse_record("policy", await self._run("recorded_policy"), parse_policy)

        return await self._reading(read)

    async def record_policy(self, policy: Policy) -> None:
        """Make a policy the current one without training anything into it; used for a starter."""
        await self._run("record_policy", *policy_arguments(policy))

    async def pin(self, policy: Policy) -> None:
        """Serve this policy, whatever is recorded later, until unpinned."""
        await self._run("pin", *policy_arguments(policy))

    async def unpin(self) -> None:
        """Serve the latest recorded policy again."""
        await self._run("unpin")

    async def pinned(self) -> bool:
        """Whether a policy is pinned."""
        return bool(await self._run("pinned"))

    async def training(self) -> dict[str, str]:
        """The state that the trainer reported last; `paused` is "1" while it may not claim."""

        async def read() -> dict[str, str]:
            reply = await self._run("training")
            return parse_record("training", reply, lambda flat: dict(pairs(flat)))

        return await self._reading(read)

    async def set_training(self, state: Mapping[str, str | int | float]) -> None:
        """Merge into the training state.

        `max_live_episodes` is the limit of admission, 0 for none, and `max_live_episodes_per_key` one key's share of it;
        `step_seconds`, the time between two steps, sets the `retry-after` of a refused caller; `closed` is 1 while no group
        may open at all.
        """
        flat = [item for pair in state.items() for item in pair]
        await self._run("set_training", *flat)

    async def pause_training(self) -> None:
        """Forbid claims until training is resumed."""
        await self._run("set_training", "paused", 1)

    async def resume_training(self) -> None:
        """Allow claims again."""
        await self._run("resume_training")

    async def weigh_rewards(self, weights: Mapping[str, float]) -> None:
        """Replace the weights of reward names; a name without a weight counts once."""
        flat = [item for name, weight in weights.items() for item in (name, repr(float(weight)))]
        await self._run("weigh_rewards", *flat)

    async def set_history(self, policy: HistoryPolicy) -> None:
        """Set the history policy of new episodes that name none."""
        await self._run("set_history", policy)

    async def history(self) -> HistoryPolicy:
        """The history policy of episodes that name none."""

        async def read() -> HistoryPolicy:
            reply = cast("bytes | None", await self._run("history"))
            try:
                return HistoryPolicy(reply.decode()) if reply else HistoryPolicy.STICKY
            except ValueError as error:
                raise DamagedRecord("history", str(error)) from error

        return await self._reading(read)

    async def totals(self) -> Totals:
        """The counts, read at one moment."""

        async def read() -> Totals:
            reply = await self._run("totals")
            counts, ready, claimed, holders, limits, damaged = cast(
                "tuple[Flat, int, int, Flat, Flat, bytes | None]", reply
            )
            limit, share = parse_record("training", limits, parse_limits)
            places = parse_record(
                "holders", holders, lambda flat: parse_places(dict(pairs(flat)), limit, share)
            )
            return parse_record(
                "totals",
                counts,
                lambda flat: parse_totals(
                    dict(pairs(flat)),
                    ready=ready,
                    claimed=claimed,
                    places=places,
                    damaged_records=int(damaged or 0),
                ),
            )

        return await self._reading(read)

    async def sweep(self) -> float | None:
        """Handle what is due: idle episodes, group deadlines, leases, expired data. Returns when it is due next."""
        deadline = cast("bytes | None", await self._run("sweep", SWEEP_LIMIT, MAX_DELIVERIES))
        return int(deadline) / 1000 if deadline else None

    async def published(self) -> list[Publication]:
        """Policies that the ledger has not confirmed, by version."""
        entries = cast("Flat", await self._run("published"))
        found = []
        for version, record in zip(entries[::2], entries[1::2], strict=True):
            try:
                found.append(parse_publication(version, record))
            except UNREADABLE as error:
                fields = {"record": "published", "version": repr(version), "content": repr(record)}
                log.error("damaged record left out", extra=fields | {"why": str(error)})
                await self._run("published_done", version)
        return sorted(found, key=lambda publication: publication.policy.version)

    async def published_done(self, publications: Sequence[Publication]) -> None:
        """Remove policies that the ledger recorded from the outbox."""
        await self._run("published_done", *(p.policy.version for p in publications))

    async def raise_counters(self, sequence: int, *, version: int) -> None:
        """Give out no sequence and no policy version up to these again."""
        await self._run("raise_counters", sequence, version)

    async def forget_trained(self, episode_ids: Sequence[str]) -> int:
        """Remove episodes that the ledger has as trained; returns how many the store had."""
        return cast("int", await self._run("forget_trained", *episode_ids))

    async def settled(self, limit: int = 100) -> list[SettledEpisode]:
        """Episodes that the ledger has not confirmed, oldest first."""
        for _ in range(MOVED_AT_MOST):
            settled, num_read = await self._settled(limit)
            if settled or not num_read:
                break
        return settled

    async def _settled(self, limit: int) -> tuple[list[SettledEpisode], int]:
        """Those that can be read, and how many there were; any other is written anew, to be read the next time."""
        reply = await self._run("settled", limit)
        entries, weights = cast("tuple[list[tuple[bytes, Header, Flat]], Flat]", reply)
        settled = []
        for sequence, values, rewards in entries:
            try:
                header = parse_header(values)
                total = parse_rewards(header.id, rewards, weights).total
                settled.append(SettledEpisode(header, total, sequence_of(sequence)))
            except DamagedRecord as error:
                await self.set_aside(error)
        return settled, len(entries)

    async def settle_done(self, episodes: Sequence[SettledEpisode]) -> None:
        """Remove these entries from the outbox; an episode that settled again meanwhile stays in it."""
        flat = [item for e in episodes for item in (e.header.id, e.sequence)]
        await self._run("settle_done", *flat)


def sequence_of(score: bytes) -> int:
    try:
        return int(float(score))
    except UNREADABLE as error:
        raise DamagedRecord("settled", str(error)) from error


def parse_publication(version: bytes, record: bytes) -> Publication:
    """A value of the hash `published`."""
    path, parent, digest, created, step = msgspec.msgpack.decode(
        record, type=tuple[str, str, str, str, str]
    )
    known = Policy(int(version), path, int(parent) if parent else None, digest, int(created))
    return Publication(known, int(step) if step else None)


def parse_limits(values: Flat) -> tuple[int, int]:
    """The limits of admission, of the project and of one key; 0 for none."""
    limit, share = (int(value or 0) for value in values)
    return limit, share


def parse_policy(flat: Flat) -> Policy | None:
    """The policy, None before any is recorded."""
    fields = dict(pairs(flat))
    if not fields:
        return None
    return Policy(
        version=int(fields["version"]),
        path=fields["path"],
        parent=int(fields["parent"]) if fields["parent"] else None,
        digest=fields["digest"],
        created=int(fields["created"]),
    )
