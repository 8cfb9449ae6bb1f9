"""Whether what was trained is in the policy that training continues from, exactly once."""

from collections.abc import Iterable, Mapping

import msgspec

from rollout.audit.offender import Offender, Suspects
from rollout.ledger.records import LedgerEpisode, LedgerPolicy, TrainedEpisode


class Lineage(msgspec.Struct, frozen=True):
    """The newest policy and its ancestors. Training continues from the newest one, so all others are abandoned."""

    newest: int  # -1 if there is no policy
    versions: frozenset[int]
    lost_parent: int | None = None  # an ancestor of which there is no record

    @classmethod
    def empty(cls) -> "Lineage":
        return cls(-1, frozenset())

    @classmethod
    def walk(cls, parents: Mapping[int, int | None]) -> "Lineage":
        """From the newest version to the starter."""
        newest = max(parents, default=-1)
        found: set[int] = set()
        version = newest if parents else None
        while version is not None and version not in found:
            if version not in parents:
                return cls(newest, frozenset(found), version)
            found.add(version)
            version = parents[version]
        return cls(newest, frozenset(found))

    def check(self, kind: str, id_: str, version: int | None) -> list[Offender]:
        """What counts as trained is in the lineage. Versions above the newest came later; below a lost ancestor nothing is known."""
        oldest = 0 if self.lost_parent is None else self.lost_parent + 1
        if version is None or version in self.versions or not oldest <= version <= self.newest:
            return []
        expected = f"a version in the lineage of {self.newest}"
        return [Offender(kind, id_, expected, f"trained into {version}")]


def check_recorded(lineage: Lineage, recorded: int | None) -> list[Offender]:
    """The store knows the newest policy, and each ancestor of it has a record."""
    suspects = Suspects("policy", str(lineage.newest))
    suspects.expect(
        lineage.newest <= (-1 if recorded is None else recorded),
        f"the store to have recorded {lineage.newest}",
        "nothing" if recorded is None else recorded,
    )
    if lineage.lost_parent is not None:
        suspects.name("policy", str(lineage.lost_parent), "a record with its parent", "none")
    return suspects.found


def check_marks(lineage: Lineage, policies: Iterable[LedgerPolicy]) -> list[Offender]:
    """Each policy is abandoned, or in the lineage."""
    found = []
    for policy in policies:
        if policy.abandoned == (policy.version in lineage.versions):
            is_abandoned = "abandoned" if policy.abandoned else "not abandoned"
            place = "outside" if policy.abandoned else "in"
            expected = f"{place} the lineage of {lineage.newest}, because it is {is_abandoned}"
            found.append(Offender("policy", str(policy.version), expected, "the opposite"))
    return found


class TrainedOnce:
    """Every episode was trained at most once in the lineage. Takes the ledger's rows page by page."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._versions: dict[tuple[str, int], int] = {}  # by id and opening time

    def add(self, trained: Iterable[TrainedEpisode]) -> list[Offender]:
        """The offenders among these rows."""
        found = []
        for each in trained:
            if each.version not in self._lineage.versions:
                continue
            known = self._versions.setdefault((each.episode_id, each.created_ms), each.version)
            if known != each.version:
                versions = f"{known} and {each.version}"
                found.append(Offender("ledger", each.episode_id, "trained once", versions))
        return found

    @property
    def num_trained(self) -> int:
        return len(self._versions)

    def check_row(self, row: LedgerEpisode) -> list[Offender]:
        """The ledger's disposition agrees with what the steps name, once `add` has all of them."""
        version = self._versions.get((row.id, row.created_ms))
        suspects = Suspects("ledger", row.id)
        if row.disposition == "trained":
            suspects.found += self._lineage.check("ledger", row.id, row.policy_version)
            if row.policy_version in self._lineage.versions:
                suspects.same("the version whose step names it:", row.policy_version, version)
        elif row.disposition != "requeued":
            suspects.same("the version whose step names it:", None, version)
        return suspects.found
