"""The retry policy: what is tried again, when, and that asking twice gives one answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.core import errors, values
from flows.core.errors import ConfigError
from flows.core.executors.perform import describe
from flows.core.records import ErrorInfo
from flows.core.retry import (
    LONGEST,
    Backoff,
    Decision,
    GiveUp,
    Retry,
    RetryAt,
    RetryRule,
    decide,
    decide_lost,
    policy_for,
    wait,
)

NOW = datetime(2026, 7, 4, 3, tzinfo=UTC)
KEY = "r.t.1"


class Flaky(ConnectionError):
    pass


def after(policy: Retry, attempt: int, error: Exception | ErrorInfo) -> Decision:
    info = error if isinstance(error, ErrorInfo) else describe(error)
    return decide(policy, attempt, info, key=KEY, now=NOW)


def retried(policy: Retry, error: Exception | ErrorInfo) -> bool:
    return isinstance(after(policy, 1, error), RetryAt)


def seconds(policy: Retry, count: int) -> list[float]:
    return [wait(policy, n, key=KEY).total_seconds() for n in range(1, count + 1)]


def test_one_try_is_the_default() -> None:
    assert after(Retry(), 1, ValueError()) == GiveUp(reason="its only attempt failed")


def test_attempts_count_the_first_try() -> None:
    policy = Retry(attempts=3)
    assert after(policy, 1, ValueError()) == RetryAt(at=NOW)
    assert after(policy, 2, ValueError()) == RetryAt(at=NOW)
    assert after(policy, 3, ValueError()) == GiveUp(reason="all 3 attempts failed")


def test_a_fixed_backoff_always_waits_the_same() -> None:
    assert seconds(Retry(delay=5), 4) == [5, 5, 5, 5]


def test_a_linear_backoff_grows_by_the_delay() -> None:
    assert seconds(Retry(delay=5, backoff=Backoff.LINEAR), 4) == [5, 10, 15, 20]


def test_an_exponential_backoff_grows_by_the_factor() -> None:
    policy = Retry(delay=5, backoff=Backoff.EXPONENTIAL, factor=3)
    assert seconds(policy, 4) == [5, 15, 45, 135]


def test_a_cap_bounds_every_wait() -> None:
    policy = Retry(delay=5, backoff=Backoff.EXPONENTIAL, cap=timedelta(seconds=12))
    assert seconds(policy, 4) == [5, 10, 12, 12]


def test_a_wait_without_cap_is_bounded_all_the_same() -> None:
    policy = Retry(delay=5, backoff=Backoff.EXPONENTIAL)
    assert wait(policy, 5000, key=KEY) == LONGEST


def test_the_wait_counts_from_now() -> None:
    policy = Retry(attempts=2, delay=timedelta(minutes=2))
    assert after(policy, 1, ValueError()) == RetryAt(at=NOW + timedelta(minutes=2))


def test_numbers_are_seconds() -> None:
    assert Retry(delay=1.5, cap=60) == Retry(delay=timedelta(seconds=1.5), cap=timedelta(minutes=1))


@pytest.mark.parametrize(
    "error",
    [errors.GiveUp("closed"), errors.NotStorable("an object"), errors.ConfigError("a typo")],
)
def test_permanent_errors_are_never_tried_again(error: Exception) -> None:
    policy = Retry(attempts=9, on=Exception, rules=(RetryRule(exception="GiveUp", retry=MANY),))
    assert after(policy, 1, error) == GiveUp(
        reason=f"{type(error).__name__} is permanent, a retry cannot help"
    )


MANY = Retry(attempts=9)


def test_errors_that_pass_are_tried_again() -> None:
    assert retried(MANY, errors.StoreError("locked"))


@pytest.mark.parametrize(
    "name",
    [
        Flaky,
        ConnectionError,
        OSError,
        Exception,
        "Flaky",
        "ConnectionError",
        "builtins.OSError",
        f"{__name__}.Flaky",
    ],
)
def test_an_error_is_named_by_its_class_or_a_base_or_their_names(
    name: type[Exception] | str,
) -> None:
    assert retried(Retry(attempts=2, on=name), Flaky())
    assert not retried(Retry(attempts=2, never=(name,)), Flaky())


@pytest.mark.parametrize("name", [ValueError, "Other", "other.Flaky", "Flak"])
def test_other_errors_are_not_covered(name: type[Exception] | str) -> None:
    policy = Retry(attempts=2, on=(name,))
    assert after(policy, 1, Flaky()) == GiveUp(reason="the retry policy does not cover Flaky")
    assert retried(Retry(attempts=2, never=(name,)), Flaky())


def test_never_outweighs_on() -> None:
    policy = Retry(attempts=2, on=OSError, never=Flaky)
    assert after(policy, 1, Flaky()) == GiveUp(reason="the retry policy excludes Flaky")
    assert retried(policy, OSError())


def test_an_error_without_bases_is_known_by_its_type() -> None:
    info = ErrorInfo(type="Timeout", message="after 5 s")
    assert retried(Retry(attempts=2, on="Timeout"), info)


def test_the_first_rule_that_names_the_error_decides_alone() -> None:
    flaky = Retry(attempts=5, delay=1)
    network = Retry(attempts=9, delay=60)
    policy = Retry(
        attempts=2,
        never=OSError,
        rules=(
            RetryRule(exception=Flaky, retry=flaky),
            RetryRule(exception=OSError, retry=network),
        ),
    )
    assert policy_for(policy, describe(Flaky())) is flaky
    assert after(policy, 4, Flaky()) == RetryAt(at=NOW + timedelta(seconds=1))
    assert after(policy, 5, Flaky()) == GiveUp(reason="all 5 attempts failed")
    assert after(policy, 5, OSError()) == RetryAt(at=NOW + timedelta(seconds=60))
    assert after(policy, 2, ValueError()) == GiveUp(reason="all 2 attempts failed")


def test_a_rule_of_a_rule_is_followed() -> None:
    inner = Retry(attempts=7)
    outer = Retry(rules=(RetryRule(exception=Flaky, retry=inner),))
    policy = Retry(rules=(RetryRule(exception=OSError, retry=outer),))
    assert policy_for(policy, describe(Flaky())) is inner


def test_a_lost_attempt_is_started_again_at_once_a_few_times() -> None:
    policy = Retry(delay=60, lost=2)
    assert decide_lost(policy, 1, NOW) == RetryAt(at=NOW)
    assert decide_lost(policy, 2, NOW) == RetryAt(at=NOW)
    assert decide_lost(policy, 3, NOW) == GiveUp(reason="its worker died under it 3 times")
    assert decide_lost(Retry(lost=0), 1, NOW) == GiveUp(reason="its worker died under it once")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attempts": 0}, "attempts is 0, and at least 1 is needed"),
        ({"delay": -1}, "delay is -1 day, 23:59:59, not 0 to 365 days"),
        ({"delay": timedelta(days=366)}, "delay is 366 days"),
        ({"cap": -1}, "cap is"),
        ({"factor": 0.5}, "factor is 0.5, and at least 1 is needed"),
        ({"jitter": 1.5}, "jitter is 1.5, not a share from 0 to 1"),
        ({"lost": -1}, "lost is -1, below 0"),
        ({"backoff": "quadratic"}, "'quadratic', not one of fixed, linear, exponential"),
        ({"on": (int,)}, "<class 'int'> is neither an exception class nor a name of one"),
        ({"never": ("",)}, "'' is neither"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Retry(**wrong)  # type: ignore[arg-type]
    assert message in str(refused.value)


names = st.sampled_from([ValueError, Flaky, "requests.ConnectionError", "Timeout"])
spans = st.one_of(
    st.integers(0, 10**6), st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=300))
)
flat = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    delay=spans,
    backoff=st.sampled_from(Backoff),
    factor=st.floats(1, 100),
    cap=st.none() | spans,
    jitter=st.floats(0, 1),
    on=st.lists(names, max_size=2).map(tuple),
    never=st.lists(names, max_size=2).map(tuple),
    lost=st.integers(0, 5),
)
policies = st.builds(
    lambda policy, rules: Retry(**{**vars(policy), "rules": rules}),
    flat,
    st.lists(st.builds(RetryRule, exception=names, retry=flat), max_size=3).map(tuple),
)
failures = st.sampled_from([ValueError("x"), Flaky("x"), KeyError("x"), errors.GiveUp("x")])


@given(policy=flat, attempt=st.integers(1, 10_000), key=st.text())
def test_a_wait_lies_between_its_jitter_and_its_cap(policy: Retry, attempt: int, key: str) -> None:
    found = wait(policy, attempt, key=key)
    longest = wait(Retry(**{**vars(policy), "jitter": 0}), attempt, key=key)
    rounding = timedelta(microseconds=1)
    assert longest * (1 - policy.jitter) - rounding <= found <= longest
    assert longest <= (LONGEST if policy.cap is None else policy.cap)


@given(policy=flat, attempt=st.integers(1, 5_000))
def test_without_jitter_a_wait_is_never_shorter_than_the_one_before(
    policy: Retry, attempt: int
) -> None:
    policy = Retry(**{**vars(policy), "jitter": 0})
    assert wait(policy, attempt, key=KEY) <= wait(policy, attempt + 1, key=KEY)


@given(policy=policies, attempt=st.integers(1, 60), error=failures, key=st.text())
def test_a_decision_depends_on_nothing_but_what_it_is_given(
    policy: Retry, attempt: int, error: Exception, key: str
) -> None:
    info = describe(error)
    first = decide(policy, attempt, info, key=key, now=NOW)
    assert first == decide(policy, attempt, info, key=key, now=NOW)
    later = decide(policy, attempt, info, key=key, now=NOW + timedelta(days=1))
    if isinstance(first, RetryAt):
        assert later == RetryAt(at=first.at + timedelta(days=1))
    else:
        assert later == first


@given(policy=policies, attempt=st.integers(1, 60), error=failures)
def test_a_policy_gives_up_at_the_latest_when_its_attempts_are_used_up(
    policy: Retry, attempt: int, error: Exception
) -> None:
    decision = decide(policy, attempt, describe(error), key=KEY, now=NOW)
    allowed = policy_for(policy, describe(error)).attempts
    assert isinstance(decision, GiveUp) or attempt < allowed


@given(policies)
def test_a_policy_survives_the_store(policy: Retry) -> None:
    assert values.loads(values.dumps(policy), Retry) == policy


def test_a_policy_in_the_store_names_exceptions_by_dotted_names() -> None:
    data = values.to_json(Retry(on=Flaky, never=(KeyError, "a.B"), delay=timedelta(minutes=1)))
    assert data["on"] == [f"{__name__}.Flaky"]
    assert data["never"] == ["builtins.KeyError", "a.B"]
    assert data["delay"] == 60


def test_jitter_spreads_attempts_over_its_whole_share() -> None:
    policy = Retry(delay=100, jitter=0.5)
    waits = [wait(policy, 1, key=f"r.t.{i}").total_seconds() for i in range(1000)]
    assert 50 <= min(waits) < 51
    assert 99 < max(waits) <= 100
    assert 74 < sum(waits) / 1000 < 76
