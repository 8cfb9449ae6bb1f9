"""The cost of a turn, held against the last release: a change that makes it dearer shows here, not at a user's."""

import pytest

from tests.bench.gateway import WORKS
from tests.bench.releases import beside, earlier

MOST = 1.10  # CPU time beside the last release; rounds of one state differ by 3 %


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_turn_costs_no_more_than_in_the_last_release() -> None:
    """CPU time of a turn, of a stream, and of Redis meanwhile is at most a tenth above the last release's."""
    figures = beside(earlier(), WORKS)
    dearer = {
        figure.work: figure for figure in figures if max(figure.ratio, figure.store_ratio) > MOST
    }
    assert not dearer
