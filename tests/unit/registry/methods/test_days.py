"""Days that differ: measured, and evidence counts for no more than they allow."""

import numpy as np
import pytest

from registry.methods.days import (
    ENOUGH,
    Days,
    Dispersion,
    after_days,
    assumed,
    at_rows,
    dispersion_of,
    log_limit,
    phi_of,
)

VARIANCE = 0.06


def days(rng: np.random.Generator, count: int, rows: int, spread: float, gain: float = 0.0) -> Days:
    """Days of rows of which 6 % are in dispute, with a spread of their own."""
    found = Days()
    for number in range(count):
        chance = 0.5 + (gain + spread * rng.standard_normal()) / 0.12
        disputed = rng.binomial(rows, VARIANCE)
        wins = rng.binomial(disputed, min(max(chance, 0.0), 1.0))
        gains = np.repeat([1.0, -1.0, 0.0], [wins, disputed - wins, rows - disputed])
        found = after_days(found, gains, np.full(rows, number))
    return found


def test_a_day_that_comes_in_pieces_is_one_day() -> None:
    gains, numbers = np.array([1.0, -1.0, 1.0, 0.0, 1.0]), np.array([3, 3, 4, 4, 5])
    whole = after_days(Days(), gains, numbers)
    pieces = Days()
    for start, end in ((0, 1), (1, 3), (3, 5)):
        pieces = after_days(pieces, gains[start:end], numbers[start:end])
    assert pieces == whole
    assert (whole.count, whole.rows, whole.total) == (3, 5, 2.0)
    assert whole.squares == pytest.approx(0 / 2 + 1 / 2 + 1)


@pytest.mark.parametrize(("spread", "phi"), [(0.0, 1.0), (0.0043, 2.54), (0.01, 9.33)])
def test_how_much_days_differ_is_measured(spread: float, phi: float) -> None:
    found = dispersion_of(days(np.random.default_rng(1), 400, 5000, spread), VARIANCE)
    assert found.phi == pytest.approx(phi, rel=0.2)
    assert found.freedom == 399


def test_days_of_more_rows_differ_more_and_are_known_less() -> None:
    known = Dispersion(squares=150.0, freedom=100.0, rows=5000)
    more = at_rows(known, 50_000)
    assert more.phi == pytest.approx(6.0, rel=0.5)
    assert at_rows(known, 5000) == known
    assert at_rows(known, 500).phi == pytest.approx(1.05)
    assert at_rows(Dispersion(squares=100.0, freedom=100.0, rows=5000), 500_000).freedom < ENOUGH


def test_while_nothing_is_measured_days_of_many_rows_are_taken_to_differ() -> None:
    few, many = assumed(300), assumed(1_000_000)
    assert few.phi == pytest.approx(1.24)
    assert few.freedom > 50
    assert many.phi == pytest.approx(801)
    assert many.freedom == pytest.approx(2.0, rel=0.01)
    assert at_rows(Dispersion(), 300) == few


def test_one_day_of_a_million_rows_proves_nothing_by_itself() -> None:
    found = days(np.random.default_rng(2), 1, 1_000_000, 0.0, gain=0.01)
    by_rows = found.total / np.sqrt(VARIANCE * found.rows)
    assert by_rows > 35  # standard errors
    assert log_limit(found, Dispersion(), variance=VARIANCE, looks=1) < np.log(100)


def test_many_days_that_agree_prove_it() -> None:
    found = days(np.random.default_rng(2), 8, 50_000, 0.0, gain=0.01)
    known = Dispersion(squares=60.0, freedom=60.0, rows=50_000)
    assert log_limit(found, known, variance=VARIANCE, looks=8) > np.log(1e9)


def test_equal_models_hardly_ever_pass_the_limit_whatever_the_days_do() -> None:
    rng, passed = np.random.default_rng(3), 0
    for _ in range(300):
        found = days(rng, 6, 5000, 0.01)
        passed += log_limit(found, Dispersion(), variance=VARIANCE, looks=1) > np.log(1 / 0.05)
    assert passed <= 300 * 0.05 / 2 + 10


def test_two_models_that_never_differ_tell_nothing_of_others() -> None:
    found = after_days(Days(), np.zeros(300), np.repeat([1, 2, 3], 100))
    assert dispersion_of(found, 0.0) == Dispersion()
    assert log_limit(found, Dispersion(), variance=0.0, looks=3) == np.inf
    assert phi_of(Days(), Dispersion(), variance=0.0, rows=1000) == pytest.approx(1.8)


def test_looking_every_hour_passes_no_more_equal_challengers_than_looking_every_night() -> None:
    rng, passed = np.random.default_rng(5), 0
    known = Dispersion(squares=60.0, freedom=60.0, rows=4800)
    for _ in range(400):
        found, reached = Days(), 0.0
        for hour in range(36):
            wins = rng.binomial(12, 0.5)
            gains = np.repeat([1.0, -1.0, 0.0], [wins, 12 - wins, 188])
            found = after_days(found, gains, np.full(200, hour // 24))
            limit = log_limit(found, known, variance=VARIANCE, looks=hour + 1)
            reached = max(reached, limit)
        passed += reached > np.log(1 / 0.05)
    assert passed <= 0.05 * 400  # were looks at one day for nothing, it would be 0.1 * 400
