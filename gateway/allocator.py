"""Keeps the memory of a large body in the process, for the next large body.

By default glibc returns it to the kernel after every body and then takes it again page by page, which costs more time than
reading the body.
"""

import ctypes

# Names and largest accepted threshold, from glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 64 * 2**20
_LARGEST_BYTES = 32 * 2**20


def keep_freed_memory() -> None:
    """Keep up to KEPT_BYTES of freed memory; does nothing with another C library than glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
