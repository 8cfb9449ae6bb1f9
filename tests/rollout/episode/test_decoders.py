"""Records that somebody damaged: a decoder gives a record or its documented error, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.episode_records import EpisodeHeader, parse_header
from rollout.episode.reward import RewardPlace
from rollout.episode.turn import MalformedTurn, Turn, decode_turn, encode_turn
from tests.profiles import examples
from tests.rollout.turns import output, turn

GOOD = encode_turn(turn("turn_é", [1, 2, 3], output([5, 6]), output([7])))
FIELDS = (
    st.none()
    | st.binary(max_size=12)
    | st.sampled_from([b"open", b"1", b"-1", b"\xff", b"9" * 5000])
)


@examples(4)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 4))
def test_a_damaged_turn_is_malformed(place: int, inserted: bytes, cut: int) -> None:
    """Bytes that were changed, added or lost give another turn or MalformedTurn."""
    data = GOOD[:place] + inserted + GOOD[place + cut :]
    try:
        read: Turn | None = decode_turn(data)
    except MalformedTurn:
        read = None
    assert read is None or decode_turn(encode_turn(read)) == read


@given(st.binary(max_size=60))
def test_any_bytes_are_a_turn_or_malformed(data: bytes) -> None:
    """Nothing but MalformedTurn is raised for bytes that nobody encoded."""
    try:
        read: Turn | None = decode_turn(data)
    except MalformedTurn:
        read = None
    assert read is None or decode_turn(encode_turn(read)) == read


@examples(4)
@given(st.lists(FIELDS, min_size=22, max_size=22))
def test_a_damaged_header_is_a_value_error(values: list[bytes | None]) -> None:
    """Fields that are missing, no numbers or no text give a header or a ValueError."""
    try:
        read: EpisodeHeader | None = parse_header(values)
    except ValueError:
        read = None
    assert read is None or read.status == (values[1] or b"").decode()


@examples(4)
@given(st.text(alphabet="*#|ab0129é", max_size=12))
def test_a_damaged_reward_place_is_a_value_error(field: str) -> None:
    """What is read is written as the same place again."""
    try:
        read: RewardPlace | None = RewardPlace.parse(field)
    except ValueError:
        read = None
    assert read is None or RewardPlace.parse(read.field) == read
