"""The selection is even, complete at its ends, and the same every time."""

from itertools import pairwise

import pytest

from gemma4_block.blocks.frame_selection import select_evenly


@pytest.mark.parametrize("limit", range(2, 34))
def test_a_selection_is_even(limit: int) -> None:
    """First and last are in, none is there twice, and gaps differ by one at most."""
    for count in range(1, 100):
        places = select_evenly(count, limit)
        assert (len(places), places[0], places[-1]) == (min(count, limit), 0, count - 1)
        gaps = {after - before for before, after in pairwise(places)}
        assert all(gap >= 1 for gap in gaps)
        assert not gaps or max(gaps) - min(gaps) <= 1


def test_nothing_is_selected_from_nothing() -> None:
    """An empty group stays empty."""
    assert select_evenly(0, 3) == ()
