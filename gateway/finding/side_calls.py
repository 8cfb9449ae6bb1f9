"""Which calls a runtime makes for itself, by the rules of its entry in `runtimes.py`."""

from gateway.finding.fingerprint import instructions_of
from gateway.finding.runtimes import Runtime, SideCall
from gateway.request.request import Request

REMINDER_END = "</system-reminder>"  # Claude Code puts such texts before what it asks


def side_call(runtime: Runtime, request: Request) -> SideCall | None:
    """The rule that a call matches; None for work on the task. Texts are read only if a rule asks for them."""
    rules = runtime.side_calls
    if rules and request.tools:
        rules = tuple(rule for rule in rules if rule.has_tools)
    if not rules:
        return None
    head = instructions_of(request) if any(rule.instructions for rule in rules) else ""
    asked = _asked(request)
    return next((rule for rule in rules if _matches(rule, head, asked)), None)


def _matches(rule: SideCall, head: str, asked: str) -> bool:
    if rule.instructions:
        return rule.instructions in head
    return asked == rule.asks_whole if rule.asks_whole else asked.startswith(rule.asks)


def _asked(request: Request) -> str:
    """What the last message says, if it is the user's."""
    last = request.messages[-1]
    content = last.get("content") if last["role"] == "user" else ""
    return content.rpartition(REMINDER_END)[2].strip() if isinstance(content, str) else ""
