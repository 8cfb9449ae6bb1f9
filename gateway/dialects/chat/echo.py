"""What the reply to a chat completion repeats of its body."""

import msgspec

from gateway.request.request import Request


class ChatEcho(msgspec.Struct, frozen=True):
    calls_functions: bool = (
        False  # the older form: `functions` and `function_call`, one call per message
    )
    counts_always: bool = False  # usage so far in every chunk of a stream


PLAIN = ChatEcho()


def echo_of(request: Request) -> ChatEcho:
    return request.echo if isinstance(request.echo, ChatEcho) else PLAIN


def finish_reason(reason: str, echo: ChatEcho) -> str:
    return "function_call" if echo.calls_functions and reason == "tool_calls" else reason
