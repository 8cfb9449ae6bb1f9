"""Ids that name their turn: a client that sends one back names the episode without knowing of episodes.

An id is no secret. Whoever sends one gets an episode only if the episode's own API key made the call.

minted_id("call", "turn_4e0…", 0, 2)  ->  call_4e0…_0_2     the third call of the first output
turn_of("call_4e0…_0_2")              ->  turn_4e0…
"""

import os
import re
from collections.abc import Callable
from itertools import count

TURN = "turn_"
_NUM_DIGITS = 24
_LONGEST = 128  # characters of an id, far more than one of ours; in a long text the search takes quadratic time
_READ = 65_536  # characters of a text, from its end
# Some clients take the underscores out, so a place may follow the digits directly.
_WRITTEN = re.compile(rf"\bcall_[0-9a-f]{{{_NUM_DIGITS}}}[0-9_]*")
_MINTED = re.compile(rf"(?<![0-9a-f])([0-9a-f]{{{_NUM_DIGITS}}})[0-9_]*\Z")


def new_turn_id() -> str:
    return TURN + os.urandom(_NUM_DIGITS // 2).hex()


def minted_id(kind: str, turn_id: str, *place: int) -> str:
    """An id of what is at this place of a turn; `kind` is its first word, as `call`, `toolu` or `rs`."""
    return "_".join((kind, turn_id.removeprefix(TURN), *map(str, place)))


def renamed(id_: str, kind: str) -> str:
    """The same id with another first word; one that we did not mint stays as it is."""
    return id_ if turn_of(id_) is None else f"{kind}_{id_.partition('_')[2]}"


def call_ids(turn_id: str, output: int) -> Callable[[], str]:
    """Names the tool calls of one output, one after the other."""
    numbers = count()
    return lambda: minted_id("call", turn_id, output, next(numbers))


def turn_of(id_: str) -> str | None:
    """The turn that an id names, if we may have minted it; what follows a dot is the dialect's own."""
    own = own_part(id_)
    found = _MINTED.search(own) if len(own) <= _LONGEST else None
    return f"{TURN}{found[1]}" if found else None


def own_part(id_: str) -> str:
    """An id without what a dialect added to it, which may be long."""
    return id_.partition(".")[0]


def written_ids(text: str) -> list[str]:
    """The ids of tool calls at the end of a text, the last one first."""
    return _WRITTEN.findall(text[-_READ:])[::-1]
