"""A ledger on a network drive is told before it breaks."""

from pathlib import Path

import pytest

from registry.errors import RegistryError
from registry.network_drives import refuse_network_drive

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
store:/export /mnt/team nfs4 rw 0 0
/dev/sdb1 /mnt/team/local ext4 rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return path


def test_a_file_on_a_network_drive_is_refused(mounts: Path) -> None:
    with pytest.raises(RegistryError, match=r"on a network drive \(nfs4\)") as caught:
        refuse_network_drive("sqlite:////mnt/team/.ratchet/ledger.db", mounts)
    assert "registry=server" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////home/me/ledger.db",
        "sqlite:////mnt/team/local/ledger.db",
        "sqlite:////mnt/teams/ledger.db",
        "postgresql+psycopg://db/ratchet",
        "http://mlflow:5000",
    ],
)
def test_local_disks_and_servers_are_fine(url: str, mounts: Path) -> None:
    refuse_network_drive(url, mounts)
    refuse_network_drive(url, mounts.with_name("there-is-none"))
