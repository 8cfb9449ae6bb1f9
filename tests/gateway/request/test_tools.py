from gateway.request.tools import NO_TOOLS, Tools


def test_calls_without_tools_leave_nothing_with_what_they_share() -> None:
    """Template arguments of one caller are not kept in the constant that all calls without tools share."""
    NO_TOOLS.start("template", {})
    before = {name: repr(value) for name, value in vars(NO_TOOLS).items()}
    starts = {NO_TOOLS.start("template", {"secret": number}) for number in range(3)}
    assert len(starts) == 3
    assert {name: repr(value) for name, value in vars(NO_TOOLS).items()} == before


def test_a_start_depends_on_template_tools_and_arguments() -> None:
    """The same three give the same hash, remembered or not; a change of any gives another."""
    tools = Tools([{"type": "function", "function": {"name": "look"}}])
    first = tools.start("template", {"a": 1, "b": 2})
    assert (
        first
        == tools.start("template", {"b": 2, "a": 1})
        == Tools(tools).start("template", {"a": 1, "b": 2})
    )
    others = {
        NO_TOOLS.start("template", {"a": 1, "b": 2}),
        tools.start("another", {"a": 1, "b": 2}),
        tools.start("template", {"a": 1}),
    }
    assert len(others | {first}) == 4
