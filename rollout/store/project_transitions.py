"""The transitions of a whole project: policies, training state, counts, deadlines and the ledger's outbox."""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from rollout.episode.episode_records import HistoryPolicy, SettledEpisode, parse_header
from rollout.policies import Policy, Publication
from rollout.served_model import ServedModel
from rollout.store.claim_transitions import MAX_DELIVERIES, policy_arguments
from rollout.store.redis_decoding import Flat, Header, pairs, parse_rewards
from rollout.store.totals import Totals, parse_places, parse_totals
from rollout.store.transitions import Transitions

SWEEP_LIMIT = 200  # entries of each kind per sweep, so that Redis is never blocked for long


class ProjectTransitions(Transitions):
    """The transitions of neither one episode nor one group."""

    async def next_version(self) -> int:
        """A policy version that was never given out before."""
        return cast("int", await self._run("next_version"))

    async def policy(self) -> Policy | None:
        """The policy that engines should serve: the pinned one, else the one recorded last."""
        return parse_policy(cast("Flat", await self._run("policy")))

    async def served_model(self) -> ServedModel | None:
        """What engines should serve for this project."""
        policy = await self.policy()
        return None if policy is None else ServedModel(self.project, policy.version)

    async def recorded_policy(self) -> Policy | None:
        """The policy recorded last, whether or not another one is pinned."""
        return parse_policy(cast("Flat", await self._run("recorded_policy")))

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
        return dict(pairs(cast("Flat", await self._run("training"))))

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
        reply = cast("bytes | None", await self._run("history"))
        return HistoryPolicy(reply.decode()) if reply else HistoryPolicy.STICKY

    async def totals(self) -> Totals:
        """The counts, read at one moment."""
        reply = await self._run("totals")
        counts, ready, claimed, holders, limits = cast(
            "tuple[Flat, int, int, Flat, list[bytes | None]]", reply
        )
        return parse_totals(
            dict(pairs(counts)),
            ready=ready,
            claimed=claimed,
            places=parse_places(dict(pairs(holders)), *(int(limit or 0) for limit in limits)),
        )

    async def sweep(self) -> float | None:
        """Handle what is due: idle episodes, group deadlines, leases, expired data. Returns when it is due next."""
        deadline = cast("bytes | None", await self._run("sweep", SWEEP_LIMIT, MAX_DELIVERIES))
        return int(deadline) / 1000 if deadline else None

    async def published(self) -> list[Publication]:
        """Policies that the ledger has not confirmed, by version."""
        entries = cast("Flat", await self._run("published"))
        found = [
            parse_publication(int(version), record)
            for version, record in zip(entries[::2], entries[1::2], strict=True)
        ]
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
        reply = await self._run("settled", limit)
        entries, weights = cast("tuple[list[tuple[bytes, Header, Flat]], Flat]", reply)
        return [
            SettledEpisode(
                parse_header(header), parse_rewards(rewards, weights).total, int(sequence)
            )
            for sequence, header, rewards in entries
        ]

    async def settle_done(self, episodes: Sequence[SettledEpisode]) -> None:
        """Remove these entries from the outbox; an episode that settled again meanwhile stays in it."""
        flat = [item for e in episodes for item in (e.header.id, e.sequence)]
        await self._run("settle_done", *flat)


def parse_publication(version: int, record: bytes) -> Publication:
    """A value of the hash `published`."""
    path, parent, digest, created, step = msgspec.msgpack.decode(
        record, type=tuple[str, str, str, str, str]
    )
    known = Policy(version, path, int(parent) if parent else None, digest, int(created))
    return Publication(known, int(step) if step else None)


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
