"""gpt-oss: its outputs are messages on channels.

    <|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json
    <|message|>{}<|call|>

`analysis` is reasoning. `final`, and `commentary` before a call, are content. A message with a recipient is a call.
"""

from __future__ import annotations

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.markup import matched
from gateway.parsing.reasoning_format import ReasoningFormat
from gateway.parsing.template_texts import all_of

SHOWN = all_of("<|channel|>", "<|message|>")
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
    """Separates the channels and removes the headers, except that of a call: the call parser reads it, in one spelling.

    A prompt may end inside a message (a prefill); the output then continues that message.
    """

    def __init__(self, prompt_tail: str) -> None:
        begun = prompt_tail.rpartition("<|start|>")[2]
        self._in_body = "<|message|>" in begun
        self._in_reasoning = self._in_body and "<|channel|>analysis" in begun
        self._in_call = False
        self._is_last = False
        self._held = ""
        self._reasoning: list[str] = []
        self._content: list[str] = []

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        while (self._read_body if self._in_body else self._read_header)():
            pass
        new = "".join(self._reasoning), "".join(self._content)
        self._reasoning, self._content = [], []
        return new

    def finish(self) -> tuple[str, str]:
        self._is_last = True
        return self.feed("")

    def _read_header(self) -> bool:
        found, waits = matched(HEADER, self._held, is_last=self._is_last)
        if waits or not self._held:
            return False
        self._in_body = True
        self._in_reasoning = self._in_call = False
        if found is None:  # text without a header is content, a stray tag too
            self._content.append(self._held[0])
            self._held = self._held[1:]
            return True
        self._held = self._held[found.end() :]
        recipient = RECIPIENT.search(found[0])
        self._in_call = recipient is not None
        self._in_reasoning = (found["channel"] or "").startswith("analysis") and not self._in_call
        if recipient is not None:
            self._content.append(f"<|channel|>commentary to={recipient['name']}<|message|>")
        return True

    def _read_body(self) -> bool:
        found = END.search(self._held, partial=not self._is_last)
        end = found.start() if found else len(self._held)
        text, self._held = self._held[:end], self._held[end:]
        (self._reasoning if self._in_reasoning else self._content).append(text)
        if found is None or found.partial:
            return False
        self._held = self._held[len(found[0]) :]
        self._content += found[0] if self._in_call else ""
        self._in_body = False
        return True


# as HarmonyReasoning passes it on: <|channel|>commentary to=functions.f<|message|>{...}<|call|>
CALLS = CallFormat(
    name="harmony",
    shown_by=SHOWN,
    opening=opening(r"<\|channel\|>commentary to="),
    header=regex.compile(r"(?:functions\.)?(?P<name>[^<>\s]+)<\|message\|>\s*(?=\{)"),
    closing=regex.compile(r"\s*<\|call\|>"),
    markers=("<|call|>",),
    # <|call|> ends the output, so the grammar need not write it.
    forced=ForcedCall(
        "<|channel|>commentary to=",
        "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>",
        "",
    ),
)

GPT_OSS = ModelFamily(
    name="gpt-oss",
    recognized_by=SHOWN,
    call_formats=(CALLS,),
    reasoning_formats=(
        ReasoningFormat(
            name="harmony",
            shown_by=SHOWN,
            parser=HarmonyReasoning,
            markers=MARKERS,
            begin="<|channel|>analysis<|message|>",
            end="<|end|><|start|>assistant",
            closed=None,  # every prompt ends as a thought does: with the message before the model's
            answer="<|channel|>final<|message|>",
        ),
    ),
)
