"""One try of a call. Tries of one episode with the same retry key and body are the same call, which is sampled once."""

import msgspec

JOINED = "joined:"  # begins the retry key of a client that repeats calls without saying so


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """A try's own id, and what makes its repeats recognizable."""

    id: str = ""
    retry_key: str = ""  # "" if a repeat of the call could not be recognized
    body_digest: str = ""
    is_repeat: bool = False  # the call may have been made before


UNKEYED = Attempt()  # its repeats are not recognized
