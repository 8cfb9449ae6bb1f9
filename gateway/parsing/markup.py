"""Finds markup in text that arrives in pieces; a piece may end inside the markup."""

import regex

LONGEST = 1000  # characters; longer text is no markup


def matched(
    pattern: regex.Pattern[str], text: str, *, is_last: bool
) -> tuple[regex.Match[str] | None, bool]:
    """The match at the beginning, if any, and whether more text is needed to know.

    A pattern must not end in an optional part: it would match before that part arrives.
    """
    found = pattern.match(text, 0, LONGEST, partial=not is_last)
    if found is None or not found.partial:
        return found, False
    return None, len(text) < LONGEST


def before_tag(text: str, tag: str) -> int:
    r"""How much of `text` cannot be the beginning of a tag, nor newlines before one.

    before_tag("so\n<tool", "<tool_call>") == len("so")
    """
    end = len(text)
    if tag[0] in text[-len(tag) :]:
        begun = range(min(len(tag) - 1, end), 0, -1)
        end -= next((size for size in begun if text.endswith(tag[:size])), 0)
    while end and text[end - 1] == "\n":
        end -= 1
    return end
