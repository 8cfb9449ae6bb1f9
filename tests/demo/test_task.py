"""The shop clerk's tasks: nothing to memorize, nothing leaks, the reward is exact."""

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from clients.examples.shop_clerk.shop import ITEMS, PRICES, QUANTITIES, Order, Shop
from deploy.demo.clerk.demonstrations import HABITS, clean_chat, sloppy_chat
from deploy.demo.clerk.subject import chats
from deploy.demo.clerk.tasks import Task, held_out_tasks, is_held_out, training_tasks

orders = st.builds(
    Order,
    st.sampled_from(ITEMS),
    st.sampled_from(ITEMS),
    st.sampled_from(QUANTITIES),
    st.sampled_from(QUANTITIES),
)
shops = st.builds(Shop.opened, st.randoms(use_true_random=False))


@given(orders, shops, st.integers(-500, 1500))
def test_only_the_exact_total_is_rewarded(order: Order, shop: Shop, guess: int) -> None:
    """An answer earns 1 when it is the total, with or without white space around it, and 0 otherwise."""
    total = order.first_quantity * shop.prices[ITEMS.index(order.first)]
    total += order.second_quantity * shop.prices[ITEMS.index(order.second)]

    assert order.reward(shop, f" {total}\n") == 1.0
    assert order.reward(shop, str(guess)) == float(guess == total)
    assert order.reward(shop, f"{total} in all") == 0.0


def test_prices_cannot_be_memorized() -> None:
    """Over many shops each item takes nearly every price, none much oftener than by chance."""
    shops = [task.shop for task in islice(training_tasks("any"), 4000)]

    for item in range(len(ITEMS)):
        prices = [shop.prices[item] for shop in shops]
        assert set(prices) <= set(PRICES)
        assert len(set(prices)) == len(PRICES)
        assert max(prices.count(price) for price in PRICES) < 3 * 4000 / len(PRICES)


def test_held_out_pairs_are_in_no_training_task_and_no_demonstration() -> None:
    """No ordered pair of items that is measured was ever demonstrated or trained on."""
    measured = {(t.order.first, t.order.second) for t in held_out_tasks(0, 2000)}
    trained = {(t.order.first, t.order.second) for t in islice(training_tasks("episodes-0"), 5000)}
    demonstrated = {asked(chat["messages"][0]["content"]) for chat in islice(chats(0), 2000)}

    assert len(measured) > 250
    assert measured.isdisjoint(trained)
    assert measured.isdisjoint(demonstrated)
    assert all(first != second for first, second in measured | trained)


def test_every_item_is_held_out_and_trained_on_both_sides() -> None:
    """What is held out are pairs; each single item is known from training in either place."""
    trained = {(t.order.first, t.order.second) for t in islice(training_tasks("episodes-0"), 5000)}
    measured = {(t.order.first, t.order.second) for t in held_out_tasks(0, 2000)}

    for pairs in (trained, measured):
        assert {first for first, _ in pairs} == set(ITEMS)
        assert {second for _, second in pairs} == set(ITEMS)
    assert not any(is_held_out(Order(first, second, 2, 2)) for first, second in trained)


def test_tasks_follow_from_their_stream() -> None:
    """The same stream gives the same tasks; another gives others, with ids of their own."""
    first, again = (list(islice(training_tasks("a"), 50)) for _ in range(2))
    other = list(islice(training_tasks("b"), 50))

    assert first == again
    assert first != other
    assert {task.id for task in first}.isdisjoint(task.id for task in other)


def test_clean_clerk_is_always_right() -> None:
    """A clean chat asks for both prices, calculates once and ends in the right answer."""
    for task in islice(training_tasks("clean"), 200):
        chat = clean_chat(task)
        assert task.reward(answer(chat)) == 1.0
        assert tools(chat) == ["price", "price", "calc"]


def test_sloppy_clerk_is_right_about_as_often_as_its_habits_allow() -> None:
    """About 0.42 episodes have no habit, 0.94² · 0.92 of those no wrong item and no wrong sign."""
    random = Random(1)
    tasks: list[Task] = list(islice(training_tasks("sloppy"), 4000))

    right = sum(task.reward(answer(sloppy_chat(task, random))) for task in tasks) / len(tasks)

    expected = (1 - sum(HABITS.values())) * 0.94**2 * 0.92
    assert abs(right - expected) < 0.03  # four standard errors


def asked(question: str) -> tuple[str, str]:
    words = question.split()
    return words[3], words[6]


def answer(chat: dict[str, list[dict[str, str]]]) -> str:
    return chat["messages"][-1]["content"]


def tools(chat: dict[str, list[dict[str, list[dict[str, dict[str, str]]]]]]) -> list[str]:
    calls = [call for message in chat["messages"] for call in message.get("tool_calls", [])]
    return [call["function"]["name"] for call in calls]
