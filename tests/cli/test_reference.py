"""The committed pages of settings and commands are what the program says of itself."""

from pathlib import Path

import pytest

from pyro_assets.cli.reference import PAGES
from pyro_assets.resources.environment import Environment
from pyro_assets.settings import variable

DOCUMENTS = Path(__file__).parents[2] / "resources" / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str):
    assert (DOCUMENTS / name).read_text("utf-8") == PAGES[name](), (
        f"write {name} anew: python -m pyro_assets.cli.reference resources/docs"
    )


def test_every_setting_is_on_its_page():
    page = PAGES["settings.md"]()
    assert all(f"| `{variable(name)}` |" in page for name in Environment.model_fields)


def test_commands_inside_groups_and_their_options_are_on_the_page():
    page = PAGES["commands.md"]()
    assert "## pyro-assets quarantine retry" in page
    assert "| `--mode` | `PYRO_ASSETS_COMPACTION` |" in page
    assert "| `--port` | `9119` |" in page
