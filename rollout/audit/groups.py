"""Whether one group agrees with its members, and stands in exactly one queue."""

from collections import Counter

from rollout.audit.offender import Offender, Suspects
from rollout.store.inspection import GroupInspection

# The queue that each status belongs to. A trained group leaves `trained` when a checkpoint has it.
QUEUES = {"open": set[str](), "ready": {"ready"}, "claimed": {"claimed"}, "discarded": set[str]()}
# The status that members may have.
MEMBERS = {
    "open": {"open", "sealed", "rewarded", "discarded"},
    "ready": {"rewarded", "discarded"},
    "claimed": {"claimed", "discarded"},
    "trained": {"trained", "discarded"},
    "discarded": {"discarded"},
}
LIVE = {"open", "ready", "claimed"}


def check_group(group: GroupInspection) -> list[Offender]:
    """The offenders of a group in the store."""
    suspects = Suspects("group", group.id)
    if group.is_gone:  # forgotten since its id was read
        return suspects.found
    for name in group.unreadable:
        suspects.name("key", name, "a key of the type that the store writes", "another type")
    if group.unreadable:
        return suspects.found
    status = group.fields.get("status", "")
    suspects.expect(status in MEMBERS, "a known status", status or "none")
    suspects.expect(group.members, "members", "none")
    if status in MEMBERS:
        _check_members(group, status, suspects)
        _check_queues(group, status, suspects)
        _check_counts(group, status, suspects)
    return suspects.found


def _check_members(group: GroupInspection, status: str, suspects: Suspects) -> None:
    for member, found in group.members.items():
        allowed = MEMBERS[status]
        expected = f"member {member} to be {' or '.join(sorted(allowed))}"
        suspects.expect(found in allowed, expected, found or "no such episode")


def _check_queues(group: GroupInspection, status: str, suspects: Suspects) -> None:
    queues = group.queues.keys() - {"deadlines", "ahead"}
    allowed = [QUEUES[status]] if status in QUEUES else [{"trained"}, set[str]()]
    expected = " or ".join(str(sorted(each)) for each in allowed)
    suspects.expect(queues in allowed, f"{status}, in the queues {expected}", sorted(queues))
    has_deadline = "deadlines" in group.queues
    has_ended = any(state != "open" for state in group.members.values())
    suspects.expect(
        has_deadline or status != "open" or not has_ended,
        "a deadline, because a member has ended",
        "none",
    )
    suspects.expect(
        status == "open" or not has_deadline, "no deadline, because it is not open", status
    )
    suspects.expect(
        status != "claimed" or group.fields.get("owner"), "an owner of the claim", "none"
    )


def _check_counts(group: GroupInspection, status: str, suspects: Suspects) -> None:
    """Of a group that ended, members are forgotten one by one."""
    states = Counter(group.members.values())
    counted = {
        "opened": len(group.members),
        "rewarded": states["rewarded"] + states["claimed"] + states["trained"],
        "discarded": states["discarded"],
    }
    for field, number in counted.items():
        known = group.number(field)
        agrees = known == number if status in LIVE else known >= number
        suspects.expect(agrees, f"{number} {field}, by its members", known)
    suspects.same("members with a place:", group.num_placed, max(group.number("placed"), 0))
    keeps_places = group.number("ahead") > 0
    suspects.expect(
        ("ahead" in group.queues) == keeps_places,
        f"{'an' if keeps_places else 'no'} entry in ahead, by the places that it keeps",
        sorted(group.queues),
    )
