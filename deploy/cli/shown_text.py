"""Text of tokens for a terminal: invisible characters get a sign, markup is dim, the middle of long texts is left out."""

import re
import unicodedata

from rich.text import Text

LINES = 6  # of a shortened text, without the line that counts what is left out
LONGEST_LINE = 240
MARKUP = re.compile(r"<[|｜]?/?[\w▁ ]+[|｜]?>")  # special tokens and tags of chat templates
REPEATED = re.compile(rf"({MARKUP.pattern})\1{{3,}}")  # an image is a thousand placeholders
PICTURES = {"\t": "⇥", "\r": "␍", "\x7f": "␡"}


def shown(text: str, *, style: str = "", whole: bool = False) -> Text:
    """The text with every character visible, line by line; without its middle unless `whole`."""
    if not whole:
        text = REPEATED.sub(lambda run: f"{run[1]} × {len(run[0]) // len(run[1])}", text)
    lines = text.split("\n")
    rows = [_line(line, style, whole=whole) for line in lines]
    for row in rows[:-1]:
        row.append("⏎", "cyan dim")
    if not lines[-1]:
        rows.pop()
    if not whole and len(rows) > LINES + 2:  # fewer would not pay for the line that counts them
        head, tail = rows[: LINES // 2], rows[-LINES // 2 :]
        left_out = lines[len(head) : len(rows) - len(tail)]
        characters = sum(len(line) + 1 for line in left_out)
        rows = [*head, _left_out(f"{len(left_out)} lines, {characters:,} characters"), *tail]
    return Text("\n", overflow="fold", no_wrap=False).join(rows)


def _line(line: str, style: str, *, whole: bool) -> Text:
    if not whole and len(line) > 1.2 * LONGEST_LINE:
        half = LONGEST_LINE // 2
        gap = _left_out(f"{len(line) - 2 * half:,} characters")
        return _line(line[:half], style, whole=True) + gap + _line(line[-half:], style, whole=True)
    row = Text(style=style)
    body = line.rstrip(" ")
    for character in body:
        if (picture := _picture(character)) is None:
            row.append(character)
        else:
            row.append(picture, "cyan dim")
    row.append("·" * (len(line) - len(body)), "cyan dim")
    row.highlight_regex(MARKUP, "dim")
    return row


def _left_out(what: str) -> Text:
    return Text(f"[… {what} …]", "magenta dim")


def _picture(character: str) -> str | None:
    """How to draw a character that has no shape of its own; None for one that has."""
    if " " <= character <= "~":
        return None
    if character in PICTURES:
        return PICTURES[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    if unicodedata.category(character)[0] in "CZ":
        return f"⟨U+{ord(character):04X}⟩"
    return None
