"""So many rows prove it with 80 %, and fewer than so many never do."""

import numpy as np
import pytest

from registry.methods.bounded import bet
from registry.methods.paired import mcnemar
from registry.methods.power import fewest_units, rounded, rows_enough


def test_mcnemar_at_one_in_ten_thousand_needs_fourteen_disagreements_all_won() -> None:
    assert fewest_units(1e-4) == 14
    assert mcnemar(14, 0) <= 1e-4 < mcnemar(13, 0)
    assert fewest_units(0.05) == 5
    assert mcnemar(5, 0) <= 0.05 < mcnemar(4, 0)


def test_the_textbook_sample_size() -> None:
    # One-sided 2.5 %, 80 %, half a standard deviation: (1.96 + 0.842)^2 / 0.5^2 = 31.4.
    assert rows_enough(0.5, 0.1, 100, 0.025) == 32


@pytest.mark.parametrize("bets", [False, True])
def test_so_many_rows_prove_it_four_times_in_five(bets: bool) -> None:
    level, share = 1e-4, (0.02, 0.04)
    error = float(np.sqrt((0.06 - 0.02**2) / 1000))
    rows = rows_enough(0.02, error, 1000, level, exact_by_bets=bets)
    assert rows is not None
    rng, proven = np.random.default_rng(0), 0
    for _ in range(300):
        gains = rng.choice([-1.0, 0.0, 1.0], rows, p=[share[0], 0.94, share[1]])
        wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
        proven += (bet(gains, level=level) if bets else mcnemar(wins, losses)) <= level
    assert proven / 300 == pytest.approx(0.8, abs=0.1)


def test_no_number_of_rows_proves_what_is_not_there() -> None:
    assert rows_enough(0.0, 0.1, 100, 1e-4) is None
    assert rows_enough(-0.1, 0.1, 100, 1e-4) is None
    assert rows_enough(0.1, 0.0, 100, 1e-4) is None


@pytest.mark.parametrize(("count", "said"), [(7, 7), (99, 99), (101, 110), (9438, 9500)])
def test_a_count_is_said_with_two_digits_and_never_too_small(count: int, said: int) -> None:
    assert rounded(count) == said
