"""The audit knows every key of the table that opens the store."""

import re

from rollout.audit.keyspace import EPISODE_PARTS, GROUP_PARTS, OWN_IDS, SINGLE_KEYS
from rollout.store import store

ROW = re.compile(r"^(\S+(?:, \S+)*) +(?:hash|list|set|zset|string) ", re.MULTILINE)


def test_the_audit_knows_every_key_of_the_store() -> None:
    """A key that is added to the table of keys must be added to the audit, which would report it."""
    assert store.__doc__ is not None
    kinds = {
        name.partition(":")[0] for row in ROW.findall(store.__doc__) for name in row.split(", ")
    }

    assert kinds == {"ep", "grp", *EPISODE_PARTS, *GROUP_PARTS, *SINGLE_KEYS, *OWN_IDS}
