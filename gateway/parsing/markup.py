"""Finding markup in text that arrives in pieces, any of which may end inside it."""

import regex

LONGEST = 1000  # characters; longer markup is none


def matched(
    pattern: regex.Pattern[str], text: str, *, is_last: bool
) -> tuple[regex.Match[str] | None, bool]:
    """The match at the beginning, if any, and whether only more text can tell.

    A pattern must not end in something optional, which would match before it is whole.
    """
    found = pattern.match(text, 0, LONGEST, partial=not is_last)
    if found is None or not found.partial:
        return found, False
    return None, len(text) < LONGEST


def before_tag(text: str, tag: str) -> int:
    r"""How much of `text` cannot belong to a tag that has only begun, nor to the newlines in front of it.

    before_tag("so\n<tool", "<tool_call>") == len("so")
    """
    end = len(text)
    if tag[0] in text[-len(tag) :]:
        begun = range(min(len(tag) - 1, end), 0, -1)
        end -= next((size for size in begun if text.endswith(tag[:size])), 0)
    while end and text[end - 1] == "\n":
        end -= 1
    return end
