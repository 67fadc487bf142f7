"""Links from Dagster's assets to our own pages, where their address is known.

Add a page here when it shows an asset better than Dagster does. Links back stand on the pages.
"""

from collections.abc import Callable, Mapping
from typing import Final

import dagster as dg

#: Asset -> title and address of what our pages have of it.
_PAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "segments": {"Status": "/status", "Explore": "/explore"},
    "l1_blocks": {"Hours": "/status#hours", "Quarantine": "/quarantine", "Explore": "/explore"},
    "dimension_series": {"Series": "/series?kind=dimension", "Rules": "/rules", "Backfills": "/backfills"},
    "function_series": {"Series": "/series?kind=function", "Rules": "/rules", "Backfills": "/backfills"},
    "exported_series": {"Receivers": "/status#receivers", "Series": "/series"},
}


def linked(web_url: str) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Adds links to a spec: in its description for people, in its metadata for both; nothing without an address."""
    base = web_url.rstrip("/")

    def link(spec: dg.AssetSpec) -> dg.AssetSpec:
        pages = _PAGES.get(spec.key.to_user_string(), {}) if base else {}
        if not pages:
            return spec
        links = ", ".join(f"[{title}]({base}{path})" for title, path in pages.items())
        first = next(iter(pages.values()))
        return spec.replace_attributes(
            description=f"{spec.description}\n\nOn our pages: {links}.",
            metadata={**spec.metadata, "pages": dg.MetadataValue.url(base + first)},
        )

    return link
