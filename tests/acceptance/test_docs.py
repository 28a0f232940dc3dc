"""Every `ratchet` command in a block marked `sh` in the documents works after the demo."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def commands():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                if line.startswith("ratchet "):
                    yield pytest.param(line.partition("#")[0], id=f"{page.name}: {line}")


@pytest.mark.parametrize("command", list(commands()))
def test_a_documented_command_works(demo, command):
    done = demo.run(*shlex.split(command))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_link_between_documents_leads_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
