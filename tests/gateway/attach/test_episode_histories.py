"""The cache of histories is bounded by their memory, whatever their number and size."""

import gc
import tracemalloc

from gateway.attach.episode_histories import EpisodeHistories
from gateway.attach.episode_history import EpisodeHistory
from rollout.episode.episode_records import EpisodeSummary, HistoryPolicy
from rollout.episode.turn import Anchor, Turn, decode_turn, encode_turn
from tests.rollout.turns import output, turn

NUM_TURNS, NEW_TOKENS, SAMPLED_TOKENS = 20, 500, 200
BYTES_PER_TOKEN = 12


def test_histories_unused_for_longest_make_room() -> None:
    """What was made of the turns goes first, then whole histories, and each is read again as it was."""
    logs = {f"ep_{n}": encoded(conversation(f"ep_{n}", num_turns=4)) for n in range(8)}
    whole = EpisodeHistories(2**30, count_read=ignore)
    size = size_of(whole, "ep_0", logs)
    read: list[int] = []
    histories = EpisodeHistories(int(4.5 * size), count_read=read.append)

    for name, log in logs.items():
        history = visit(histories, name, log)
        assert history.prefixes.num_bytes
        assert histories.num_bytes <= 4.5 * size
    assert sum(read) == 8 * 4
    known = [name for name in logs if histories.num_known_turns("project", name)]
    assert known == list(logs)[-len(known) :]
    assert 4 < len(known) < 8, "turns are kept where their JSON is not"

    for name, log in reversed(logs.items()):
        assert visit(histories, name, log).trie.num_turns == 4
    assert sum(read) == 8 * 4 + (8 - len(known)) * 4


def test_one_history_larger_than_the_memory_is_kept() -> None:
    """The episode that runs is remembered, however long it is; it displaces all others."""
    histories = EpisodeHistories(1, count_read=ignore)
    for name in ("ep_0", "ep_1"):
        visit(histories, name, encoded(conversation(name, num_turns=4)))
    assert [histories.num_known_turns("project", name) for name in ("ep_0", "ep_1")] == [0, 4]


def test_a_history_that_was_dropped_while_its_turn_ran_takes_no_room() -> None:
    """A turn that ends after its episode was forgotten is added to nobody's memory."""
    histories = EpisodeHistories(1, count_read=ignore)
    history = histories.bring_up_to_date("project", opened("ep_0", num_turns=0), since=0, turns=[])
    assert history is not None
    visit(histories, "ep_1", encoded(conversation("ep_1", num_turns=1)))
    size = histories.num_bytes
    (late,) = conversation("ep_0", num_turns=1)
    histories.add("project", history, turn=late, ordinal=0)
    assert histories.num_bytes == size
    assert histories.num_known_turns("project", "ep_0") == 0


def test_an_open_episode_takes_twelve_bytes_a_token() -> None:
    """Of tokens and their JSON; what is counted is what Python allocates, within a tenth."""
    logs = [encoded(conversation(f"ep_{n}", num_turns=NUM_TURNS)) for n in range(10)]
    histories = EpisodeHistories(2**30, count_read=ignore)
    gc.collect()
    tracemalloc.start()
    try:
        for place, log in enumerate(logs):
            visit(histories, f"ep_{place}", log)
        gc.collect()
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    num_tokens = len(logs) * NUM_TURNS * (NEW_TOKENS + SAMPLED_TOKENS)
    assert allocated <= BYTES_PER_TOKEN * num_tokens
    assert 0.9 * allocated <= histories.num_bytes <= 1.1 * allocated


def test_turns_that_the_log_lost_are_forgotten() -> None:
    """After a failover that lost the latest turn, no later call continues that turn: its record could not be read."""
    log = encoded(conversation("a", num_turns=3))
    histories = EpisodeHistories(1_000_000, count_read=ignore)
    visit(histories, "a", log)
    header = opened("a", num_turns=2)
    first = histories.bring_up_to_date("project", header, since=3, turns=[])
    again = histories.bring_up_to_date("project", header, since=0, turns=log[:2])

    assert first is None
    assert again is not None
    assert again.trie.num_turns == 2


def test_a_history_whose_turn_begins_is_not_the_next_to_be_dropped() -> None:
    """Otherwise its turn would begin twice when others make room before the store has answered."""
    logs = {name: encoded(conversation(name, num_turns=3)) for name in ("a", "b", "c")}
    sizes = EpisodeHistories(1_000_000, count_read=ignore)
    size = size_of(sizes, "a", logs)
    histories = EpisodeHistories(2 * size, count_read=ignore)
    for name in ("a", "b"):
        visit(histories, name, logs[name])
    since = histories.num_known_turns("project", "a")
    visit(histories, "c", logs["c"])
    header = opened("a", num_turns=3)

    assert since == 3
    assert histories.bring_up_to_date("project", header, since=3, turns=[]) is not None
    assert histories.num_known_turns("project", "b") == 0


def test_a_text_counts_the_bytes_of_its_characters() -> None:
    """A Chinese text takes two bytes a character, an emoji four."""
    histories = EpisodeHistories(1_000_000, count_read=ignore)
    history = histories.bring_up_to_date("project", opened("a", num_turns=0), since=0, turns=[])
    assert history is not None
    before = history.num_bytes
    history.keep_text("\N{GRINNING FACE}" * 1000)

    assert history.num_bytes - before >= 4000


def visit(histories: EpisodeHistories, name: str, log: list[bytes]) -> EpisodeHistory:
    """Read what is missing, and ask for the JSON of the whole, as a turn does."""
    since, header = histories.num_known_turns("project", name), opened(name, num_turns=len(log))
    history = histories.bring_up_to_date("project", header, since=since, turns=log[since:])
    assert history is not None
    last = decode_turn(log[-1])
    history.prefixes.pieces(history.trie, Anchor(last.id, 0, last.outputs[0].num_tokens))
    histories.bring_up_to_date("project", header, since=len(log), turns=[])
    return history


def size_of(histories: EpisodeHistories, name: str, logs: dict[str, list[bytes]]) -> int:
    visit(histories, name, logs[name])
    return histories.num_bytes


def conversation(name: str, *, num_turns: int) -> list[Turn]:
    turns: list[Turn] = []
    anchor = None
    for number in range(num_turns):
        context = [10_000 + number * 1_000 + i for i in range(NEW_TOKENS)]
        sampled = output([50_000 + i for i in range(SAMPLED_TOKENS)])
        id_ = f"turn_{name}_{number:019d}"
        turns.append(turn(id_, context, sampled, anchor=anchor))
        anchor = Anchor(id_, 0, SAMPLED_TOKENS)
    return turns


def encoded(turns: list[Turn]) -> list[bytes]:
    return [encode_turn(each) for each in turns]


def opened(name: str, *, num_turns: int) -> EpisodeSummary:
    return EpisodeSummary(name, 1, HistoryPolicy.STICKY, num_turns)


def ignore(_: int) -> None:
    """Nobody counts."""
