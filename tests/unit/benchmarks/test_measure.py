from benchmarks.measure import Sample, side_by_side


def test_the_cases_take_turns_and_the_first_rounds_do_not_count() -> None:
    turns: list[str] = []

    def case(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    samples = side_by_side({"a": lambda: case("a"), "b": lambda: case("b")}, repeats=2, warm_up=1)

    assert turns == ["a", "b", "a", "b", "a", "b"]
    assert samples["a"].values == (3.0, 5.0)
    assert samples["b"].values == (4.0, 6.0)


def test_quartiles_are_interpolated() -> None:
    sample = Sample(values=(4.0, 1.0, 3.0, 2.0, 5.0))

    assert (sample.low, sample.median, sample.high) == (2.0, 3.0, 4.0)
    assert sample.quantile(0.95) == 4.8
    assert Sample(values=(7.0,)).high == 7.0


def test_a_ratio_compares_measurements_that_were_taken_next_to_each_other() -> None:
    slow_second_half = Sample(values=(2.0, 20.0))

    assert slow_second_half.over(Sample(values=(1.0, 10.0))).values == (2.0, 2.0)
