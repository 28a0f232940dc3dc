"""The ports of servers that two `ratchet up` start at the same time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.up.ports import free_port

CHOOSE = "from flows.up.ports import free_port; print(free_port(43210), flush=True); input()"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, who was slower is started again")
def test_a_port_that_another_process_has_chosen_and_does_not_use_yet_is_not_free() -> None:
    command = [sys.executable, "-c", CHOOSE]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        ours = free_port(theirs)
        assert ours > theirs
        assert free_port(ours) == ours, "what this process has chosen is its own"
        other.communicate("\n")
    assert free_port(theirs) == theirs, "who has ended holds no port"
