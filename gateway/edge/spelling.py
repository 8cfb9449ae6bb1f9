"""Base URLs that clients are often given: with a slash too many, with `/v1` twice or not at all."""

import re

_SLASHES = re.compile("//+")
_VERSIONS = re.compile("^(/v1)+(?=/v1(/|$))")
_WITHOUT_VERSION = re.compile("^/(chat/completions|completions|responses|messages|models)(/|$)")


def canonical(path: str) -> str:
    """The path as the router knows it.

    //v1/v1/chat/completions/  ->  /v1/chat/completions
    """
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path.endswith("/") and len(path) > 1:
        path = path[:-1]
    if path.startswith("/v1"):
        return _VERSIONS.sub("", path) if path.startswith("/v1/v1") else path
    return f"/v1{path}" if _WITHOUT_VERSION.match(path) else path
