"""gpt-oss's channels: analysis is thought; final and the preambles in commentary are said; a recipient makes a call.

    <|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json
    <|message|>{}<|call|>

Headers are taken off here, except that of a call: it goes on, spelled in one way, to the parser of calls.
"""

from __future__ import annotations

import regex

from gateway.parsing.markup import matched

MARKERS = (
    *("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"),
    *("<|end|>", "<|return|>", "<|call|>"),
)
HEADER = regex.compile(
    r"(?:<\|start\|>)?(?:assistant)?\s*(?:to=[^\s<]+\s*)?"
    r"(?:<\|channel\|>(?P<channel>[^<]*))?(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
RECIPIENT = regex.compile(r"\bto=(?P<name>[^\s<]+)")
END = regex.compile(r"<\|(?:end|return|call)\|>|(?=<\|(?:start|channel)\|>)")


class HarmonyReasoning:
    """A prompt may end inside a message (a prefill); the output then goes on with it."""

    def __init__(self, prompt_tail: str) -> None:
        begun = prompt_tail.rpartition("<|start|>")[2]
        self._in_body = "<|message|>" in begun
        self._thinks = self._in_body and "<|channel|>analysis" in begun
        self._calls = False
        self._is_last = False
        self._held = ""
        self._thought: list[str] = []
        self._speech: list[str] = []

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        while (self._read_body if self._in_body else self._read_header)():
            pass
        said = "".join(self._thought), "".join(self._speech)
        self._thought, self._speech = [], []
        return said

    def finish(self) -> tuple[str, str]:
        self._is_last = True
        return self.feed("")

    def _read_header(self) -> bool:
        found, waits = matched(HEADER, self._held, is_last=self._is_last)
        if waits or not self._held:
            return False
        self._in_body = True
        self._thinks = self._calls = False
        if found is None:  # words without a header are said, a tag that begins none too
            self._speech.append(self._held[0])
            self._held = self._held[1:]
            return True
        self._held = self._held[found.end() :]
        recipient = RECIPIENT.search(found[0])
        self._calls = recipient is not None
        self._thinks = (found["channel"] or "").startswith("analysis") and not self._calls
        if recipient is not None:
            self._speech.append(f"<|channel|>commentary to={recipient['name']}<|message|>")
        return True

    def _read_body(self) -> bool:
        found = END.search(self._held, partial=not self._is_last)
        end = found.start() if found else len(self._held)
        text, self._held = self._held[:end], self._held[end:]
        (self._thought if self._thinks else self._speech).append(text)
        if found is None or found.partial:
            return False
        self._held = self._held[len(found[0]) :]
        self._speech += found[0] if self._calls else ""
        self._in_body = False
        return True
