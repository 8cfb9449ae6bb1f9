"""Finds the episode of a call that names none, by what the call has in common with earlier ones of the same API key."""

from typing import cast

import msgspec

from rollout.store.transitions import Transitions

MOST_PLACES = 48  # in one conversation at which it may leave what is recorded


class Clues(msgspec.Struct, frozen=True, gc=False):
    """What a call tells about its episode. Nothing of another key's is found by it."""

    key_id: str
    turns: tuple[str, ...] = ()  # that the call names by ids it sends back, the latest first
    session: str = ""  # a label of the runtime's own id
    words: tuple[tuple[str, str], ...] = ()  # digests of what was said, the longest first
    cache_key: str = ""  # a label of the client's mark for calls of one conversation
    is_repeat: bool = False

    @property
    def are_there(self) -> bool:
        return bool(self.turns or self.session or self.words or self.cache_key)


class FindingTransitions(Transitions):
    """One round trip, for calls that name no episode."""

    async def find(self, clues: Clues, *, otherwise: str) -> tuple[str, str]:
        """The episode, and how it was found; `otherwise` is the one that the call opens if there is none.

        Only open episodes are found. Calls that come at the same time with one session get one episode.
        """
        words = [digest for pair in clues.words[:MOST_PLACES] for digest in pair]
        reply = await self._run(
            "find",
            *(otherwise, clues.key_id, clues.session, clues.cache_key, int(clues.is_repeat)),
            len(clues.turns),
            *clues.turns,
            *words,
        )
        id_, how = cast("tuple[bytes, bytes]", reply)
        return id_.decode(), how.decode()
