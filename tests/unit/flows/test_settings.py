"""Secrets are revealed at the moment of use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.core.errors import ConfigError
from flows.settings import AlertRoute, AlertsConfig, reveal, revealed


def test_a_reference_becomes_the_environment_variable() -> None:
    assert reveal("secret:TOKEN", {"TOKEN": "s3 cr:et"}) == "s3 cr:et"


def test_a_reference_becomes_the_content_of_the_file_that_the_environment_names(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert reveal("secret:TOKEN", {"TOKEN_FILE": str(file)}) == "s3cret"


def test_the_variable_wins_over_the_file(tmp_path: Path) -> None:
    environ = {"TOKEN": "from variable", "TOKEN_FILE": str(tmp_path / "none")}
    assert reveal("secret:TOKEN", environ) == "from variable"


def test_a_secret_inside_a_url_is_percent_encoded() -> None:
    url = "postgresql://me:secret:PG_PASSWORD@db/ratchet"
    assert reveal(url, {"PG_PASSWORD": "a@b/c"}) == "postgresql://me:a%40b%2Fc@db/ratchet"


def test_several_references_in_one_value_are_all_revealed() -> None:
    value = "https://secret:USER_NAME:secret:PASS@host"
    assert reveal(value, {"USER_NAME": "me", "PASS": "p"}) == "https://me:p@host"


@pytest.mark.parametrize("value", ["plain", "topsecret:TOKEN", "secret:lower", "secret", ""])
def test_what_is_no_reference_stays(value: str) -> None:
    assert reveal(value, {"TOKEN": "x"}) == value


def test_a_revealed_secret_is_not_looked_through_for_references() -> None:
    assert reveal("secret:A", {"A": "secret:B", "B": "x"}) == "secret:B"


def test_a_missing_secret_is_named_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^The secret PG_PASSWORD is not set\.$") as caught:
        reveal("postgresql://me:secret:PG_PASSWORD@db/r", {})
    assert "PG_PASSWORD_FILE" in str(caught.value.hint)


def test_an_unreadable_secret_file_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read from .*none: No such file"):
        reveal("secret:TOKEN", {"TOKEN_FILE": str(tmp_path / "none")})
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary: it is not text\.$"):
        reveal("secret:TOKEN", {"TOKEN_FILE": str(binary)})


def test_a_whole_config_is_revealed_at_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "json://h/x")
    alerts = AlertsConfig(
        urls=("secret:HOOK", "json://other"), routes=(AlertRoute(urls=("secret:HOOK",)),)
    )
    assert revealed(alerts) == AlertsConfig(
        urls=("json://h/x", "json://other"), routes=(AlertRoute(urls=("json://h/x",)),)
    )


def test_revealing_leaves_everything_but_text_alone() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        count: int = 3
        names: dict[str, str | int]
        none: str | None = None

    config = Config(names={"a": "b", "c": 4})
    assert revealed(config) == config
