"""The digest of a body whose messages are hashed already, so that a long conversation is hashed once."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import numpy as np

SHORT = 16_384  # bytes that are hashed again in less time than the places of the messages take


def body_digest(body: bytes, items: Sequence[msgspec.Raw], items_digest: bytes) -> str:
    """Of a body that the items were read from, with the digest of the items in place of what lies between first and last.

    "" if that saves nothing. Two bodies that differ only in the spaces between two items have one digest.
    """
    if len(body) < SHORT or not items:
        return ""
    first, last = _address(items[0]), _address(items[-1]) + len(memoryview(items[-1]))
    start, end = first - _address(body), last - _address(body)
    if not 0 <= start <= end <= len(body):  # the items are copies
        return ""
    digest = sha256(b"%d " % start)
    for part in (body[:start], items_digest, body[end:]):
        digest.update(part)
    return digest.hexdigest()[:32]


def _address(data: bytes | msgspec.Raw) -> int:
    address: int = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    return address
