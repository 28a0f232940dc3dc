"""A new champion is watched beside its predecessor: what is proven, how surely, in which words."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from registry.errors import GateError
from registry.gate_config import Dependence, GateConfig, GateMode, WatchConfig, check_config
from registry.methods.blocks import Spread
from registry.methods.comparison import Comparison, Unusable
from registry.nights.betting import Sample, unit_of
from registry.nights.docket import Docket
from registry.watch import (
    Subject,
    Watch,
    Watched,
    Watching,
    WatchState,
    watch_from_json,
    watch_json,
    watched_from_json,
)
from registry.watching import broken_off, fresh_after, opened, resumed, watched, watching

START = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECT = Subject(model="digits", epoch=2, version="7", previous="6")
Make = Callable[[np.random.Generator, int, float], Sample]
# Two models of this loop have differed on 6 % of the rows so far.
GATE = GateConfig(dependence=Dependence.INDEPENDENT)
DOCKET = Docket(epoch=1, unit=unit_of(GATE), rows=100_000, squares=6_000.0)
NUMBERS = GateConfig(metric="mae", mode=GateMode.SINGLE_NIGHT, resamples=100)


def times(night: int, rows: int) -> npt.NDArray[np.datetime64]:
    """A night's rows, a second apart."""
    first = np.datetime64("2026-01-01", "us") + np.timedelta64(night, "D")
    return np.asarray(first + np.arange(rows) * np.timedelta64(1, "s"))


def classes(
    rng: np.random.Generator, night: int, harm: float, rows: int = 5000, differ: float = 0.06
) -> Sample:
    """Labels of which the champion gets a share of `harm` more wrong; `differ` are in dispute."""
    y = rng.integers(0, 2, rows)
    place = rng.random(rows)
    champion, predecessor = y.copy(), y.copy()
    lost, disputed = place < (differ + harm) / 2, place < differ
    champion[lost] = 1 - y[lost]
    predecessor[disputed & ~lost] = 1 - y[disputed & ~lost]
    comparison = Comparison(y=y, challenger=predecessor, champion=champion, classes=(0, 1))
    return Sample(comparison=comparison, times=times(night, rows))


def values(rng: np.random.Generator, night: int, harm: float, rows: int = 300) -> Sample:
    """Numbers whose champion is off by `harm` more, relatively."""
    y, noise = rng.normal(size=rows), rng.normal(size=(2, rows))
    champion, predecessor = y + noise[0] * (1 + harm), y + noise[1]
    comparison = Comparison(y=y, challenger=predecessor, champion=champion)
    return Sample(comparison=comparison, times=times(night, rows))


def begun(config: GateConfig = GATE, docket: Docket = DOCKET) -> Watch:
    return opened(SUBJECT, docket, START, config, START)


def nights_to_harm(rng: np.random.Generator, config: GateConfig, harm: float, make: Make) -> int:
    """The night on which harm is proven; 0: on none of them."""
    watch = begun(config)
    for night in range(1, config.watch.nights + 1):
        watch, found = watched(watch, make(rng, night, harm), config)
        if found.harm:
            return night
    assert found.state is WatchState.OVER
    return 0


def test_a_champion_that_is_no_worse_is_hardly_ever_found_harmful() -> None:
    rng = np.random.default_rng(1)

    def small(rng: np.random.Generator, night: int, harm: float) -> Sample:
        return classes(rng, night, harm, rows=500)

    config = replace(GATE, watch=WatchConfig(alpha=0.05))
    found = [nights_to_harm(rng, config, 0.0, small) > 0 for _ in range(200)]
    # Three standard errors above the level would be 0.096.
    assert np.mean(found) <= 0.05


def test_two_points_are_found_on_the_first_nights_of_5000_rows() -> None:
    rng = np.random.default_rng(2)
    found = [nights_to_harm(rng, GATE, 0.02, classes) for _ in range(60)]
    assert 0 not in found
    assert max(found) <= 2
    assert np.mean([night == 1 for night in found]) > 0.9


def test_one_point_is_found_within_the_window() -> None:
    rng = np.random.default_rng(3)
    found = [nights_to_harm(rng, GATE, 0.01, classes) for _ in range(40)]
    assert 0 not in found
    assert np.median(found) <= 3


def test_less_than_the_harm_that_is_asked_for_is_not_found() -> None:
    rng = np.random.default_rng(4)
    config = replace(GATE, watch=WatchConfig(harm=0.02))
    assert not any(nights_to_harm(rng, config, 0.02, classes) for _ in range(20))
    assert all(nights_to_harm(rng, config, 0.05, classes) for _ in range(20))


def test_a_loss_without_a_bound_is_tested_each_night_at_a_share_of_alpha() -> None:
    rng = np.random.default_rng(5)
    config = replace(NUMBERS, watch=WatchConfig(alpha=0.05))

    def few(rng: np.random.Generator, night: int, harm: float) -> Sample:
        return values(rng, night, harm, rows=100)

    found = [nights_to_harm(rng, config, 0.0, few) > 0 for _ in range(600)]
    assert np.mean(found) <= 0.05
    found = [nights_to_harm(rng, config, 0.3, values) > 0 for _ in range(20)]
    assert np.mean(found) > 0.9


def test_the_sums_of_nights_are_the_test_of_all_their_rows() -> None:
    rng = np.random.default_rng(6)
    watch, gains = begun(NUMBERS), []
    for night, rows in ((1, 200), (2, 700)):
        sample = values(rng, night, 0.05, rows)
        old, new = sample.comparison.challenger, sample.comparison.champion
        assert new is not None
        y = sample.comparison.y
        gains.append(np.abs(new - y) - np.abs(old - y))
        watch, found = watched(watch, sample, NUMBERS)
    every = np.concatenate(gains)
    assert watch.sums is not None
    assert watch.sums.difference / watch.bets.rows == pytest.approx(every.mean())
    error = every.std() / math.sqrt(len(every))
    # The bootstrap's error of 100 resamples is known to about 7 %.
    assert math.sqrt(watch.sums.variance) / watch.bets.rows == pytest.approx(error, rel=0.25)
    assert found.level == pytest.approx(0.01 / 7)
    assert found.log_evidence is None


def test_days_are_one_observation_each_where_they_are_dependent() -> None:
    rng = np.random.default_rng(7)
    config = replace(GATE, block=timedelta(days=1), watch=WatchConfig(nights=14))
    found = [nights_to_harm(rng, config, 0.03, classes) for _ in range(10)]
    assert 0 not in found
    assert min(found) > 2  # however many rows a day has, two of them prove nothing
    watch, _ = watched(begun(config), classes(rng, 1, 0.03), config)
    assert watch.bets.blocks is not None
    assert watch.bets.blocks.blocks == 1
    assert fresh_after(watch, config) == START + timedelta(days=2, microseconds=-1)


def test_what_is_said_names_both_models_the_night_and_the_evidence() -> None:
    rng = np.random.default_rng(8)
    watch, first = watched(begun(), classes(rng, 1, 0.0), GATE)
    assert first.reason.startswith(
        "Version 7 has been watched for 1 of 7 nights, and is not proven worse than version 6 "
        "before it: accuracy 0.97"
    )
    assert "on tonight's 5,000 fresh rows; evidence of harm" in first.reason
    assert first.reason.endswith("of 100 needed, from 5,000 rows.")
    _, harmful = watched(watch, classes(rng, 2, 0.04), GATE)
    assert harmful.harm
    assert harmful.reason.startswith(
        "Version 7 is worse than version 6 before it, as night 2 of 7 proves: accuracy 0.9"
    )
    assert harmful.score is not None
    assert harmful.previous_score is not None
    assert harmful.score < harmful.previous_score
    tested = watched(begun(NUMBERS), values(rng, 1, 0.0), NUMBERS)[1]
    assert "of no harm, at most 0.0014 proves it" in tested.reason


def test_a_window_that_ends_without_proof_is_over() -> None:
    config = replace(GATE, watch=WatchConfig(nights=1))
    watch, found = watched(begun(config), classes(np.random.default_rng(9), 1, 0.0), config)
    assert watch.state is WatchState.OVER
    assert found.reason.startswith("Version 7 was watched for its 1 night, and was not proven")
    assert not watching(SUBJECT, found, config).due


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ("no row is new", "no row is new"),
        (classes(np.random.default_rng(0), 1, 0.0, rows=99), "the gate asks for 100"),
    ],
)
def test_rows_that_cannot_judge_wait_and_no_night_is_counted(
    sample: Sample | str, why: str
) -> None:
    before = begun()
    watch, found = watched(before, sample, GATE)
    assert watch == before
    assert (found.fresh, found.nights, found.harm) == (0, 0, False)
    assert found.reason.startswith("Version 7 is not watched tonight: ")
    assert why in found.reason
    assert found.reason.endswith("0 of 7 nights so far.")


def test_predictions_that_are_missing_are_named_after_the_model_that_made_them() -> None:
    sample = values(np.random.default_rng(0), 1, 0.0)
    sample.comparison.challenger[:2] = np.nan
    assert (
        "2 of the predecessor's predictions are missing"
        in watched(begun(NUMBERS), sample, NUMBERS)[1].reason
    )


def with_a_new_class(rng: np.random.Generator, knows_it: str) -> Sample:
    """A tenth of the rows is of a class that only one of the two models knows, and predicts."""
    sample = classes(rng, 1, 0.0)
    y, old, new = (
        np.asarray(each).copy()
        for each in (sample.comparison.y, sample.comparison.challenger, sample.comparison.champion)
    )
    y[::10] = 2
    (new if knows_it == "champion" else old)[::10] = 2
    known = {"champion": ((0, 1), (0, 1, 2)), "predecessor": ((0, 1, 2), (0, 1))}[knows_it]
    return replace(
        sample,
        comparison=replace(
            sample.comparison,
            y=y,
            challenger=old,
            champion=new,
            classes=known[0],
            champion_classes=known[1],
        ),
    )


def test_a_class_that_only_the_champion_knows_speaks_for_it_and_is_said() -> None:
    sample = with_a_new_class(np.random.default_rng(15), "champion")
    _, found = watched(begun(), sample, GATE)
    assert not found.harm
    assert found.score is not None
    assert found.previous_score is not None
    assert found.score > found.previous_score + 0.05
    assert found.reason.endswith(
        "500 rows are of a class that the predecessor never saw, and it is wrong on them: "
        "2 (500 rows)."
    )


def test_a_champion_that_cannot_say_a_class_which_its_predecessor_knew_is_harmful() -> None:
    _, found = watched(begun(), with_a_new_class(np.random.default_rng(16), "predecessor"), GATE)
    assert found.harm
    assert "a class that the champion never saw" in found.reason


def test_without_its_predecessor_the_watch_breaks_off_and_people_are_told() -> None:
    rng = np.random.default_rng(17)
    watch, _ = watched(begun(), classes(rng, 1, 0.0), GATE)
    watch, found = broken_off(watch, "the files of version 6 of digits are gone", GATE)
    assert (watch.state, watch.entries, found.nights) == (WatchState.UNWATCHED, 2, 1)
    assert found.broken_off
    assert not found.harm
    assert found.reason == (
        "Version 7 is not watched any more, after 1 of 7 nights: the files of version 6 of digits "
        "are gone. Nothing rolls it back by itself."
    )
    assert watching(SUBJECT, found, GATE) == Watching(due=False, reason=found.reason, watched=found)
    assert watch_from_json(watch_json(watch)) == watch


def test_a_watch_breaks_off_after_as_many_nights_without_a_judgement_as_it_was_to_last() -> None:
    config, rng = replace(NUMBERS, watch=WatchConfig(nights=2)), np.random.default_rng(18)
    broken = values(rng, 1, 0.0)
    broken.comparison.challenger[:2] = np.nan
    watch, first = watched(begun(config), broken, config)
    assert (first.state, first.fresh, watch.entries) == (WatchState.WATCHING, 0, 1)
    waiting, _ = watched(watch, "no row with a mature label is newer", config)
    assert waiting == watch  # rows that have not come yet end nothing
    judged, second = watched(watch, values(rng, 2, 0.0), config)
    assert (judged.entries, second.nights) == (2, 1)
    broken = values(rng, 3, 0.0)
    broken.comparison.challenger[:2] = np.nan
    watch, last = watched(judged, broken, config)
    assert (last.state, watch.entries) == (WatchState.UNWATCHED, 3)
    assert "2 nights could not judge it, the last one because 2 of the predecessor's" in last.reason


def test_rows_that_are_looked_at_again_in_vain_are_one_night() -> None:
    vain = Unusable("every new row depends on rows that were used before")
    watch, _ = watched(begun(NUMBERS), vain, NUMBERS, dataset="a")
    again, found = watched(watch, vain, NUMBERS, dataset="a")
    assert again == watch
    assert vain in found.reason
    assert watched(watch, vain, NUMBERS, dataset="b")[0].entries == 2


@pytest.mark.parametrize("who", ["champion", "predecessor"])
def test_rows_with_a_prediction_that_is_no_number_are_spent_and_spoil_no_later_night(
    who: str,
) -> None:
    rng = np.random.default_rng(22)
    broken = values(rng, 1, 0.0)
    both = broken.comparison
    predicted = both.champion if who == "champion" else both.challenger
    assert predicted is not None
    predicted[0] = np.nan
    watch, found = watched(begun(NUMBERS), broken, NUMBERS)
    assert f"1 of the {who}'s predictions are missing" in found.reason
    assert "so these 300 rows are spent" in found.reason
    assert fresh_after(watch, NUMBERS) == broken.last
    later, found = watched(watch, values(rng, 2, 0.0), NUMBERS)
    assert (found.fresh, found.rows, later.blanks) == (300, 300, 1)


def test_nights_in_vain_stay_counted_when_another_metric_is_compared() -> None:
    broken = values(np.random.default_rng(21), 1, 0.0)
    broken.comparison.challenger[:2] = np.nan
    watch, _ = watched(begun(NUMBERS), broken, NUMBERS, dataset="a")
    harsher = replace(NUMBERS, watch=WatchConfig(harm=0.01))
    anew = resumed(watch, DOCKET, harsher, START)
    assert anew.terms != watch.terms
    assert (anew.entries, anew.blank_on) == (1, "a")


def test_a_predecessor_that_does_not_fit_the_metric_is_named_and_fails_nothing() -> None:
    config = replace(GATE, metric="log_loss", bound=5.0)
    sample = classes(np.random.default_rng(19), 1, 0.0)
    y = sample.comparison.y
    surely = np.column_stack([0.9 - 0.8 * y, 0.1 + 0.8 * y])
    sample = replace(sample, comparison=replace(sample.comparison, champion=surely))
    watch, found = watched(begun(config), sample, config)
    assert watch.blanks == 1
    assert "log_loss needs a probability for each class, and the model gave labels" in found.reason


def test_rows_that_judged_before_are_refused() -> None:
    rng = np.random.default_rng(0)
    watch, _ = watched(begun(), classes(rng, 1, 0.0), GATE)
    with pytest.raises(GateError, match="rows twice"):
        watched(watch, classes(rng, 1, 0.0), GATE)


def test_rows_that_trained_or_chose_the_champion_do_not_judge_it() -> None:
    chosen = START + timedelta(days=3)
    before = replace(DOCKET, judged_until=chosen)
    assert fresh_after(begun(docket=before), GATE) == chosen
    # Nights under the new champion have looked at newer rows, which chose nothing.
    began = replace(DOCKET, epoch=2, settled_until=chosen, judged_until=chosen + timedelta(days=5))
    assert fresh_after(begun(docket=began), GATE) == chosen
    trained = opened(SUBJECT, before, chosen + timedelta(days=1), GATE, START)
    assert fresh_after(trained, GATE) == chosen + timedelta(days=1)
    unknown = opened(SUBJECT, Docket(), None, GATE, START)
    assert fresh_after(unknown, GATE).year == 1970


def test_another_metric_begins_the_evidence_anew_and_keeps_the_count() -> None:
    rng = np.random.default_rng(10)
    watch, first = watched(begun(), classes(rng, 1, 0.01), GATE)
    assert resumed(watch, DOCKET, GATE, START) is watch
    later = replace(GATE, watch=WatchConfig(nights=3, alpha=0.02))
    assert resumed(watch, DOCKET, later, START) is watch  # as long as it was planned
    harsher = replace(GATE, watch=WatchConfig(harm=0.01))
    anew = resumed(watch, DOCKET, harsher, START)
    assert (anew.bets.log_value, anew.bets.rows, anew.bets.nights) == (0.0, 0, 1)
    assert fresh_after(anew, harsher) == watch.bets.judged_until
    assert watched(anew, classes(rng, 2, 0.0), harsher)[1].nights == first.nights + 1


def test_a_watch_judges_by_whole_blocks_whatever_trained_or_chose_its_models() -> None:
    config = replace(GATE, block=timedelta(days=1))
    noon, midnight = START + timedelta(hours=12), START + timedelta(days=1, microseconds=-1)
    for docket in (Docket(epoch=2, settled_until=noon), Docket(epoch=1, judged_until=noon)):
        assert fresh_after(begun(config, docket), config) == midnight
    assert fresh_after(opened(SUBJECT, DOCKET, noon, config, START), config) == midnight


def test_what_the_gate_measured_in_another_unit_tells_a_watch_nothing() -> None:
    config = replace(GATE, metric="mse", block=timedelta(days=1))
    known = Docket(epoch=1, unit="mae", spread=Spread(squares=1e-6, freedom=300.0))
    blocks = begun(config, known).bets.blocks
    assert blocks is not None
    assert blocks.spread == Spread()
    blocks = begun(config, replace(known, unit=unit_of(config))).bets.blocks
    assert blocks is not None
    assert blocks.spread == known.spread


def test_a_gate_that_also_guards_slices_is_watched_by_its_metric_alone() -> None:
    config = replace(GATE, slices=("side",), floors={"accuracy": 0.9999}, margin=0.01)
    _, found = watched(begun(config), classes(np.random.default_rng(11), 1, 0.03), config)
    assert found.harm


def test_only_a_promotion_over_another_champion_is_watched_and_not_for_ever() -> None:
    found = watched(begun(), classes(np.random.default_rng(12), 1, 0.0), GATE)[1]
    assert not watching(None, None, GATE).due
    assert watching(SUBJECT, None, GATE).due
    assert watching(SUBJECT, found, GATE).due
    assert not watching(SUBJECT, replace(found, state=WatchState.OVER), GATE).due
    off = replace(GATE, watch=WatchConfig(nights=0))
    assert "watch.nights=0" in watching(SUBJECT, found, off).reason


def test_a_harm_that_nobody_acted_on_is_known_without_looking_again() -> None:
    harm = watched(begun(), classes(np.random.default_rng(13), 1, 0.05), GATE)[1]
    known = watching(SUBJECT, harm, GATE)
    assert (known.due, known.watched) == (False, harm)


def test_records_come_back_from_their_text() -> None:
    config = replace(GATE, block=timedelta(days=1))
    for chosen in (GATE, config):
        watch, found = watched(begun(chosen), classes(np.random.default_rng(14), 1, 0.0), chosen)
        assert watch_from_json(watch_json(watch)) == watch
        assert watched_from_json(watch_json(found)) == found
    assert isinstance(found, Watched)


@pytest.mark.parametrize(
    ("watch", "why"),
    [
        (WatchConfig(nights=-1), "watch.nights is -1"),
        (WatchConfig(harm=-0.1), "watch.harm is -0.1"),
        (WatchConfig(alpha=0.0), "watch.alpha is 0"),
        (WatchConfig(alpha=1.0), "watch.alpha is 1"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(watch: WatchConfig, why: str) -> None:
    with pytest.raises(GateError, match=why):
        check_config(replace(GATE, watch=watch))
