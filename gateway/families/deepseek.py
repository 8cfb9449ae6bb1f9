"""DeepSeek V3 and R1: calls in sections of special tokens, as JSON in a code block (V3, R1) or bare (V3.1)."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.reasoning_format import THINK
from gateway.parsing.template_texts import all_of

BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
OPENING = opening(BEGIN)
BETWEEN = regex.compile(rf"\s*(?:(?P<next>(?=<｜tool▁call▁begin｜>))|{END})")
MARKERS = (BEGIN, END, "<｜tool▁sep｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")

# <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{...}\n```<｜tool▁call▁end｜>...<｜tool▁calls▁end｜>
V3 = CallFormat(
    name="deepseek_v3",
    shown_by=all_of(BEGIN, "```json"),
    opening=OPENING,
    header=regex.compile(
        r"\s*<｜tool▁call▁begin｜>function<｜tool▁sep｜>(?P<name>[^<>\s]+)\n```json\n\s*(?=\{)"
    ),
    closing=regex.compile(r"\s*```\s*<｜tool▁call▁end｜>"),
    between=BETWEEN,
    markers=MARKERS,
    forced=ForcedCall(
        BEGIN,
        f"{BEGIN}<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n",
        f"\n```<｜tool▁call▁end｜>{END}",
    ),
)

# <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{...}<｜tool▁call▁end｜>...<｜tool▁calls▁end｜>
V31 = CallFormat(
    name="deepseek_v31",
    shown_by=all_of(BEGIN),
    opening=OPENING,
    header=regex.compile(r"\s*<｜tool▁call▁begin｜>(?P<name>[^<>\s]+)<｜tool▁sep｜>\s*(?=\{)"),
    closing=regex.compile(r"\s*<｜tool▁call▁end｜>"),
    between=BETWEEN,
    markers=MARKERS,
    forced=ForcedCall(
        BEGIN,
        f"{BEGIN}<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>",
        f"<｜tool▁call▁end｜>{END}",
    ),
)

DEEPSEEK = ModelFamily(
    name="DeepSeek V3, R1",
    recognized_by=all_of("<｜User｜>"),
    call_formats=(V3, V31),
    reasoning_formats=(THINK,),
)
