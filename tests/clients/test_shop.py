"""The clerk's world: its tools answer anything a model may write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.examples.shop_clerk.shop import ITEMS, TOOLS, Shop, calculate

SHOP = Shop(tuple(range(2, 42)))


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("price", '{"item": "apple"}', "2"),
        ("price", '{"item": "violin"}', "41"),
        ("price", '{"item": "moon"}', "unknown item"),
        ("price", '{"item": ["apple"]}', "unknown item"),
        ("price", "{}", "unknown item"),
        ("price", '"apple"', "error"),
        ("price", '{"item": "app', "error"),
        ("calc", '{"expression": "3*33+6*30"}', "279"),
        ("calc", '{"expression": 7}', "error"),
        ("open", '{"door": "front"}', "unknown tool"),
    ],
)
def test_tool_answers_whatever_was_called(tool: str, arguments: str, result: str) -> None:
    """A right call gets its result and a wrong one gets words, never an exception."""
    assert SHOP.call(tool, arguments) == result


@given(st.lists(st.integers(0, 999), min_size=1, max_size=8), st.data())
def test_calculator_agrees_with_python(numbers: list[int], data: st.DataObject) -> None:
    """Whole-number arithmetic with + - * gives what Python gives."""
    signs = data.draw(
        st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=len(numbers) - 1)
    )
    expression = "".join(f"{n}{sign}" for n, sign in zip(numbers, [*signs, ""], strict=True))

    assert calculate(expression) == str(eval(expression))


@given(st.text(alphabet="0123456789+-*/() .e_", max_size=12))
def test_calculator_refuses_the_rest(expression: str) -> None:
    """Powers, signs in front, parentheses and anything else are an error and are not evaluated."""
    result = calculate(expression)

    assert result == "error" or (set(expression) <= set("0123456789+-*") and "**" not in expression)


def test_tools_are_stated_as_they_are_called() -> None:
    """Each schema names its function and the one argument that the shop reads."""
    stated = {
        tool["function"]["name"]: list(tool["function"]["parameters"]["properties"])
        for tool in TOOLS
    }

    assert stated == {"price": ["item"], "calc": ["expression"]}
    for name, (argument,) in stated.items():
        assert (
            SHOP.call(name, json.dumps({argument: ITEMS[0] if name == "price" else "1+1"})) == "2"
        )
