"""What the reply to a chat completion repeats of its body."""

import msgspec

from gateway.request.request import Request


class ChatEcho(msgspec.Struct, frozen=True):
    """`calls_functions`: in the older form, with `function_call`, of which a message has one."""

    calls_functions: bool = False


PLAIN = ChatEcho()


def echo_of(request: Request) -> ChatEcho:
    return request.echo if isinstance(request.echo, ChatEcho) else PLAIN


def finish_reason(reason: str, echo: ChatEcho) -> str:
    return "function_call" if echo.calls_functions and reason == "tool_calls" else reason
