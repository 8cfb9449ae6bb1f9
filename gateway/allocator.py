"""The C library's memory: what a large body took stays with the process for the next one.

By default glibc returns it to the kernel after every body and then takes it again page by page, which costs more than
reading the body does.
"""

import ctypes

# glibc's mallopt(3): its names, and the largest threshold it accepts.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 64 * 2**20
_LARGEST_BYTES = 32 * 2**20


def keep_freed_memory() -> None:
    """Keep up to KEPT_BYTES of freed memory; another C library is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
