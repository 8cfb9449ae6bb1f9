"""What a client saw acknowledged is looked up in store and ledger."""

import hashlib

import numpy as np
import pytest

from rollout.audit.journal import JournalLine, JournalUnreadable, read_journal
from tests.rollout.audit.scene import Scene

DIGEST = hashlib.sha256(np.array([2], "<i4").tobytes()).hexdigest()
BORNE_OUT = [
    JournalLine("ep_1", turn_id="turn of ep_1", tokens_sha256=DIGEST),
    JournalLine("ep_1", reward=1.0),
    JournalLine("ep_open", reward=0.5, idempotency_key="k"),
    JournalLine("ep_open", reward=0.75, idempotency_key="l"),
    JournalLine("ep_deleted", turn_id="turn of ep_deleted"),
]
LOST = {
    ("turn", "another"): JournalLine("ep_1", turn_id="another"),
    ("turn", "turn of ep_1"): JournalLine("ep_1", turn_id="turn of ep_1", tokens_sha256="0"),
    ("turn", "turn of ep_lost"): JournalLine("ep_lost", turn_id="turn of ep_lost"),
    ("reward", "*|reward"): JournalLine("ep_lost", reward=1.0),
    ("reward", "ep_1 *|reward"): JournalLine("ep_1", reward=2.0),
    ("reward", "ep_1 *|style"): JournalLine("ep_1", reward=1.0, name="style"),
    ("reward", "ep_open m"): JournalLine("ep_open", reward=0.5, idempotency_key="m"),
}


async def test_each_acknowledged_line_is_looked_up(scene: Scene) -> None:
    """What is there is not reported; what is lost or differs is named, also of episodes that nobody knows."""
    assert (await scene.audit(journal=BORNE_OUT)).offenders == ()

    report = await scene.audit(journal=[*BORNE_OUT, *LOST.values()])

    assert {(offender.kind, offender.id) for offender in report.offenders} == LOST.keys()
    assert report.journal_lines == len(BORNE_OUT) + len(LOST)


async def test_of_expired_episodes_the_ledger_is_asked(scene: Scene) -> None:
    """With the data gone, a row with fewer turns or rewards than were acknowledged is an offender."""
    scene.clock.advance(2 * 3600)
    await scene.store.checkpointed(4)
    await scene.store.sweep()
    scene.clock.advance(2 * 3600)
    await scene.store.sweep()
    assert await scene.store.episode("ep_1") is None
    assert (await scene.audit(journal=BORNE_OUT[:2])).offenders == ()

    lines = [*BORNE_OUT[:2], JournalLine("ep_1", turn_id="another")]

    found = (await scene.audit(journal=lines)).offenders
    assert [(o.kind, o.id, o.expected, o.found) for o in found] == [
        ("episode", "ep_1", "at least 2 turns", "1")
    ]


def test_a_journal_names_its_bad_line() -> None:
    """A last line that a killed client left unfinished is ignored; any other is named."""
    whole = b'{"episode_id": "e", "turn_id": "t"}\n'
    assert list(read_journal([whole, b'{"episode'])) == [JournalLine("e", turn_id="t")]
    for bad in (b"no json\n", b'{"episode_id": "e"}\n', b'{"episode_id": "e", "turn": "t"}\n'):
        with pytest.raises(JournalUnreadable, match="line 2"):
            list(read_journal([whole, bad, whole]))
