"""What Ray and the heartbeat say, and what follows: the full product."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ray_jobs import JobState
from ray_jobs.markers import Heartbeat
from ray_jobs.process import ProcessIdentity, this_process
from ray_jobs.witnesses import Pulse, Pulses, RayAnswer, RayState, combine

S = JobState
TABLE = {
    #                       none       fresh      stale      gone
    RayState.UNREACHABLE: (None, S.RUNNING, None, S.LOST),
    RayState.UNKNOWN: (S.UNKNOWN, S.RUNNING, S.LOST, S.LOST),
    RayState.LIVE: (S.PENDING, S.RUNNING, S.RUNNING, S.RUNNING),
    RayState.SUCCEEDED: (S.FAILED, S.RUNNING, S.LOST, S.LOST),
    RayState.FAILED: (S.FAILED, S.RUNNING, S.LOST, S.LOST),
    RayState.KILLED: (S.LOST, S.RUNNING, S.LOST, S.LOST),
    RayState.STOPPED: (S.STOPPED, S.RUNNING, S.STOPPED, S.STOPPED),
}
EVERY = list(product(RayState, Pulse))
ELSEWHERE = ProcessIdentity(host="far", machine="another boot", pid=1, started=1)


def test_the_table_covers_every_testimony() -> None:
    assert set(TABLE) == set(RayState)
    assert all(len(row) == len(Pulse) for row in TABLE.values())


@pytest.mark.parametrize(("ray", "pulse"), EVERY)
def test_two_witnesses_give_one_state(ray: RayState, pulse: Pulse) -> None:
    status = combine("j", RayAnswer(state=ray), pulse)
    assert (status.state if status else None) == TABLE[ray][list(Pulse).index(pulse)]


@pytest.mark.parametrize(("ray", "pulse"), EVERY)
def test_a_job_that_was_asked_to_stop_is_stopped_only_when_nobody_works_on_it(
    ray: RayState, pulse: Pulse
) -> None:
    plain = combine("j", RayAnswer(state=ray), pulse)
    asked = combine("j", RayAnswer(state=ray), pulse, stop_asked=True)
    if plain is None or plain.state in (S.RUNNING, S.PENDING):
        assert asked == plain
    else:
        assert asked is not None
        assert asked.state is S.STOPPED


@pytest.mark.parametrize(("ray", "pulse"), EVERY)
def test_a_job_that_may_start_no_more_is_not_unknown_but_lost(ray: RayState, pulse: Pulse) -> None:
    plain = combine("j", RayAnswer(state=ray), pulse)
    barred = combine("j", RayAnswer(state=ray), pulse, barred=True)
    if plain is None or plain.state is not S.UNKNOWN:
        assert barred == plain
    else:
        assert barred is not None
        assert barred.state is S.LOST


def test_a_lost_job_repeats_what_ray_says_on_one_line() -> None:
    answer = RayAnswer(state=RayState.FAILED, message="out of\n   memory")
    status = combine("j", answer, Pulse.GONE)
    assert status is not None
    assert status.error is not None
    assert status.error.message.endswith("without leaving a result. Ray says: out of memory")
    assert status.witnesses == "ray: failed; heartbeat: gone"


class Watch:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def beat(number: int, process: ProcessIdentity = ELSEWHERE, **given: bool) -> Heartbeat:
    fields = {"dedicated": True, "ended": False} | given
    return Heartbeat(beat=number, at="", every_s=2.0, process=process, **fields)


def test_a_heartbeat_elsewhere_is_judged_by_the_readers_own_clock() -> None:
    clock = Watch()
    pulses = Pulses(give_up_s=60, clock=clock)
    assert pulses.look("j", None) is Pulse.NONE
    assert pulses.look("j", beat(7)) is Pulse.FRESH
    clock.now += 9.9
    assert pulses.look("j", beat(7)) is Pulse.FRESH
    clock.now += 0.2
    assert pulses.look("j", beat(7)) is Pulse.STALE
    assert pulses.look("j", beat(8)) is Pulse.FRESH
    clock.now += 61
    assert pulses.look("j", beat(8)) is Pulse.GONE


def test_a_last_beat_says_that_the_job_has_left() -> None:
    assert Pulses().look("j", beat(3, ended=True)) is Pulse.GONE


def test_a_process_of_this_machine_that_is_dead_is_gone_at_once() -> None:
    dead = replace(this_process(), started=1)
    assert Pulses().look("j", beat(3, dead)) is Pulse.GONE


def test_a_live_process_of_its_own_is_fresh_although_its_heart_is_silent() -> None:
    clock = Watch()
    pulses = Pulses(clock=clock)
    pulses.look("j", beat(3, this_process()))
    clock.now += 1000
    assert pulses.look("j", beat(3, this_process())) is Pulse.FRESH
    pulses.look("k", beat(3, this_process(), dedicated=False))
    clock.now += 1000
    assert pulses.look("k", beat(3, this_process(), dedicated=False)) is Pulse.GONE
