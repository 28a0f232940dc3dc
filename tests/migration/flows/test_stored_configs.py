"""What an earlier release stored is read; what a newer one wrote is left alone, and said so.

`versions/released-config.*` are the config of a run as the release before stored it: for people,
and for tasks. Who takes a key away names it in `DROPPED` of its class.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import pytest
import yaml

from flows.config import recorded
from flows.core import values
from flows.core.errors import NotStorable
from flows.retrain import RetrainConfig
from flows.settings import Settings

HERE = Path(__file__).parent / "versions"
FOR_PEOPLE = (HERE / "released-config.yaml").read_text()
FOR_TASKS = json.loads((HERE / "released-config.json").read_text())


@pytest.fixture
def here() -> Settings:
    """The settings of an installation of this release."""
    settings = Settings.of(FOR_TASKS)
    return dataclasses.replace(settings, project="/here", artifacts="/here/artifacts")


def changed(**changes: Any) -> str:
    return yaml.safe_dump(yaml.safe_load(FOR_PEOPLE) | changes)


def test_a_task_reads_the_settings_and_the_config_of_a_run_of_the_release_before():
    assert Settings.of(FOR_TASKS).artifacts == "/project/.ratchet/artifacts"
    hints = get_type_hints(RetrainConfig)
    for field in dataclasses.fields(RetrainConfig):
        values.from_json(FOR_TASKS[field.name], hints[field.name])


def test_commands_read_the_settings_that_a_run_of_the_release_before_was_started_with(here):
    settings = recorded(FOR_PEOPLE, here)
    assert settings.project == "/project"
    assert settings.artifacts == "/project/.ratchet/artifacts"
    assert settings.ray == here.ray


@pytest.mark.parametrize(
    "text",
    [
        changed(telepathy={"on": True}),
        changed(ray={"mode": "embedded", "telepathy": 3}),
        changed(ray="somewhere"),
        changed(alerts={"routes": [{"urls": [], "telepathy": 1}]}),
        changed(executor="telepathy"),
    ],
    ids=["a key", "a key below", "another type", "a key in a list", "another member"],
)
def test_what_a_command_does_not_know_of_a_recorded_config_is_left_alone(here, text):
    settings = recorded(text, here)
    assert settings.artifacts == "/project/.ratchet/artifacts"
    assert settings.ray.mode == "embedded"
    assert settings.executor == here.executor


@pytest.mark.parametrize("text", ["", "- a list", "{not: yaml", "telepathy"])
def test_a_config_that_cannot_be_read_at_all_is_that_of_the_installation(here, text):
    assert recorded(text, here).artifacts == here.artifacts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slimmer:
    """A stored class that had one more field in an earlier release."""

    DROPPED: ClassVar[frozenset[str]] = frozenset({"girth"})
    name: str
    size: int = 1


def test_a_key_that_was_dropped_since_is_ignored_and_one_that_came_since_has_its_default():
    assert values.loads('{"name": "a", "girth": 9}', Slimmer) == Slimmer(name="a", size=1)


def test_a_key_that_nobody_here_knows_is_refused_with_what_to_do():
    with pytest.raises(NotStorable, match="no field 'aura': a newer Ratchet wrote it") as caught:
        values.loads('{"name": "a", "aura": 9}', Slimmer)
    assert "upgrade ratchet-ml" in caught.value.hint
