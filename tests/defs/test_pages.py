"""Links from Dagster's assets to our pages."""

import dagster as dg
import pytest
from starlette.routing import Route

from pyro_assets.definitions import build_defs
from pyro_assets.web.app import make_app
from tests.support.web_client import site_of
from tests.support.worlds import World

ASSETS = ("segments", "l1_blocks", "dimension_series", "function_series", "exported_series")


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in build_defs().resolve_all_asset_specs()}


def test_every_asset_links_to_a_page_that_exists(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("PYRO_ASSETS_WEB_URL", "https://profiles.example/")
    routes = make_app(site_of(World(tmp_path).pipeline)).routes
    pages = {route.path for route in routes if isinstance(route, Route)}
    found = specs()
    for name in ASSETS:
        url = found[name].metadata["pages"].url
        assert url.startswith("https://profiles.example/")
        assert f"]({url})" in found[name].description
        for link in found[name].description.split("](https://profiles.example")[1:]:
            assert link.split(")")[0].split("?")[0].split("#")[0] in pages


def test_without_an_address_nothing_is_linked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYRO_ASSETS_WEB_URL", raising=False)
    assert all("pages" not in specs()[name].metadata for name in ASSETS)
