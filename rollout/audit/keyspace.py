"""Whether every key and every entry of an index belongs to a known episode or group."""

from collections.abc import Collection, Iterable

from rollout.audit.offender import Offender

EPISODE_PARTS = frozenset(
    f"ep.{part}"
    for part in (
        *("turns", "turn_ids", "rewards", "reward_log", "reward_keys"),
        *("advantages", "replies", "reply_keys", "withdrawn", "leases", "superseded", "messages"),
    )
)
# Records that nothing else tells are kept twice.
COPIED = ("policy", "pinned", "version", "training", "reward_weights", "history", "layout")
GROUP_PARTS = frozenset({"grp.members"})
EPISODE_INDEXES = ("episodes", "idle", "quiet", "expiring", "settled")
GROUP_INDEXES = ("ahead", "deadlines", "ready", "claimed", "trained")
SINGLE_KEYS = frozenset(
    {
        *EPISODE_INDEXES,
        *GROUP_INDEXES,
        *("turns", "published", "totals", "holders", "training", "policy", "pinned", "version"),
        *("reward_weights", "history", "alarm", "ready_signal", "layout", "probe", "shards"),
        *("repair", "recount", "recount_holders"),
        *("forgotten", "damage", "damage_count", "damage_index", "damage_seen"),
        *(f"copy.{name}" for name in COPIED),
    }
)
# Their ids are not those of episodes or groups, and they expire or are replaced by themselves.
OWN_IDS = frozenset(
    {
        *("lock", "session", "limit.requests", "limit.tokens", "limit.grammars"),
        *("limit.open", "limit.running", "damaged"),
        *("found.label", "found.opening", "found.words", "found.claim"),
    }
)


class KeyNames:
    """The names of a project's keys by what they belong to."""

    def __init__(self) -> None:
        self.episodes: set[str] = set()
        self.groups: set[str] = set()
        self.num_keys = 0
        self._parts: dict[str, tuple[str, str]] = {}
        self._strange: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Take more names."""
        for name in names:
            self.num_keys += 1
            kind, separator, id_ = name.partition(":")
            if kind == "ep" and separator:
                self.episodes.add(id_)
            elif kind == "grp" and separator:
                self.groups.add(id_)
            elif kind in EPISODE_PARTS or kind in GROUP_PARTS:
                self._parts[name] = (kind, id_)
            elif name not in SINGLE_KEYS and kind not in OWN_IDS:
                self._strange.add(name)

    def offenders(self) -> list[Offender]:
        """Keys that belong to nothing."""
        found = [
            Offender("key", name, "a name that the store uses", name) for name in self._strange
        ]
        for name, (kind, id_) in self._parts.items():
            is_group = kind in GROUP_PARTS
            if id_ not in (self.groups if is_group else self.episodes):
                owner = "its group" if is_group else "its episode"
                found.append(Offender("key", name, f"{owner} {id_}", "none"))
        return found


def check_index(name: str, ids: Iterable[str], known: Collection[str]) -> list[Offender]:
    """Entries of an index that name nothing."""
    return [
        Offender("index", f"{name} {id_}", "an entry of something that exists", "no such record")
        for id_ in ids
        if id_ not in known
    ]
