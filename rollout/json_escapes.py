"""Escapes in JSON that name half of a character: JavaScript writes them where a text is cut inside an emoji."""

import re

# A pair of halves, a half alone (the group), or any other escape, so that none is read from its second character.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def whole_characters(json: str) -> str:
    r"""The text with each half replaced by the character for what cannot be read: "a\ud83d" -> "a\ufffd"."""
    return _ESCAPE.sub(lambda found: r"\ufffd" if found[1] else found[0], json)
