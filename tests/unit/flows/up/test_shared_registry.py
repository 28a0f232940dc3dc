"""Two machines on one store are told when each would have a ledger of its own."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from flows.core.errors import ConfigError
from flows.up.shared_registry import refuse_own_ledger
from registry import RegistryConfig

HERE = f"{socket.gethostname()}/ab12:7:1:aa"
FILE = RegistryConfig(tracking_uri="sqlite:////a/mlflow.db", ledger_url="sqlite:////a/ledger.db")
SERVER = RegistryConfig(tracking_uri="http://m:5000", ledger_url="postgresql+psycopg://db/ratchet")


def settings(config: RegistryConfig) -> Any:
    return SimpleNamespace(registry=config)


def test_a_second_machine_with_a_ledger_of_its_own_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"registry.ledger_url .* and other works on the same"):
        refuse_own_ledger(settings(FILE), [HERE, "other/cd:1:1:bb"])


@pytest.mark.parametrize(
    ("config", "workers"), [(FILE, []), (FILE, [HERE]), (SERVER, [HERE, "other/cd:1:1:bb"])]
)
def test_one_machine_or_one_ledger_is_fine(config: RegistryConfig, workers: list[str]) -> None:
    refuse_own_ledger(settings(config), workers)
