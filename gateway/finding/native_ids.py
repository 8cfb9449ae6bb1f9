"""A runtime's own ids of its session and its agent. They are any text: labels made of them are never refused."""

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from gateway.finding.runtimes import OTHER, RUNTIMES, Runtime

_SHOWN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,63}")


class NativeIds(NamedTuple):
    """Empty for what the runtime does not send."""

    session: str
    thread: str

    @property
    def thread_label(self) -> str:
        """The name of the part of an episode that the call belongs to; digits in place of odd or long ids."""
        id_ = self.thread or self.session
        return id_ if _SHOWN.fullmatch(id_) else id_ and f"id_{digest(id_)[:16]}"


_NONE = NativeIds("", "")
_HEADERS = frozenset(h for each in (*RUNTIMES, OTHER) for h in (*each.sessions, *each.threads))


def native_ids(
    headers: Mapping[bytes, bytes], runtime: Runtime, *, in_body: str | None
) -> NativeIds:
    if _HEADERS.isdisjoint(headers):
        return NativeIds(in_body, "") if in_body else _NONE
    session = _first(headers, (*runtime.sessions, *OTHER.sessions)) or in_body or ""
    return NativeIds(session, _first(headers, (*runtime.threads, *OTHER.threads)))


def digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _first(headers: Mapping[bytes, bytes], names: Iterable[bytes]) -> str:
    found = (headers[name].decode("latin-1").strip() for name in names if name in headers)
    return next((value for value in found if value), "")
