"""What the exit status of a gateway says, and which errors are no mistake of an operator."""

import pytest

from gateway.exit_status import exit_status


def failing(*errors: Exception) -> int:
    def serve() -> None:
        raise ExceptionGroup("tasks", errors)

    return exit_status(serve)


def test_a_mistake_among_tasks_is_a_line_and_a_status(caplog: pytest.LogCaptureFixture) -> None:
    """The first one is named, however deep it is."""
    nested = ExceptionGroup("more", [OSError("port taken")])
    assert failing(nested, OSError("also")) == 2
    assert caplog.messages == ["cannot serve: port taken"]


def test_a_bug_beside_a_mistake_is_shown_whole() -> None:
    """Its traceback would be lost if the process ended as after a mistake alone."""
    with pytest.raises(ExceptionGroup) as raised:
        failing(OSError("port taken"), ZeroDivisionError("a bug"))
    assert raised.group_contains(ZeroDivisionError)
