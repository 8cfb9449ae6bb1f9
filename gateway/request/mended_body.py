"""Bodies that a strict reader refuses although their meaning is plain: half of an emoji, a number such as 8.0 for a count."""

import re

import msgspec

from rollout.json_escapes import whole_characters

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_INTEGRAL = re.compile(rb"-?[0-9]{1,15}\.0{1,15}")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def mended(body: bytes) -> bytes | None:
    """The body as a strict reader takes it; None if there is nothing to mend."""
    whole = _with_whole_characters(body)
    with_counts = _with_integers(whole)
    return None if with_counts is body else with_counts


def _with_whole_characters(body: bytes) -> bytes:
    if not _HALF.search(body):
        return body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    changed = whole_characters(text)
    return body if changed == text else changed.encode()


def _with_integers(body: bytes) -> bytes:
    """Whole numbers as integers, in the fields of the body itself."""
    try:
        fields = _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    whole = {name for name, value in fields.items() if _INTEGRAL.fullmatch(bytes(value))}
    if not whole:
        return body
    for name in whole:
        fields[name] = msgspec.Raw(bytes(fields[name]).partition(b".")[0])
    return msgspec.json.encode(fields)
