"""Whether the policies on disk are what the store recorded, and below the version that comes next."""

from collections.abc import Iterable

from rollout.audit.offender import Offender, Suspects
from rollout.errors import PolicyDamaged
from rollout.policies import Policy, PolicyStore


def check_disk(
    policies: PolicyStore, known: Iterable[Policy], *, reserved_version: int
) -> list[Offender]:
    """`known` are the policies that engines may be asked to serve now."""
    suspects = Suspects("policy", "next")
    newest = max(policies.versions(), default=0)
    suspects.expect(
        reserved_version >= newest, f"a version counter of at least {newest}", reserved_version
    )
    for policy in known:
        found: object
        try:
            found = policies.policy(policy.version).digest
        except PolicyDamaged as error:
            found = error
        if found != policy.digest:
            suspects.name("policy", str(policy.version), f"digest {policy.digest} on disk", found)
    return suspects.found
