"""Speedscope: a link that opens there what is shown here, and the leave of its origin to fetch that one file.

Speedscope is a page of its own that fetches a profile from the browser of whoever follows the link. So the download
answers to its origin, without credentials, and to no other; where people must sign in, it has nothing to show. Why its
address has no default stands in decision 21.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from pyro_assets.web import words
from pyro_assets.web.explore.asked import ExploreForm
from pyro_assets.web.site import Site
from pyro_assets.web.spans import Span

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def speedscope_link(site: Site, request: Request, asked: ExploreForm, span: Span) -> str:
    """Where speedscope shows the profile; "" where it is not known, or could not fetch it."""
    if not site.speedscope_url or not site.access.is_open:
        return ""
    download = str(request.base_url).rstrip("/") + asked.address(path="/explore/download/pprof")
    title = ", ".join(part for part in (asked.service, words.type_words(asked.kind), span.words) if part)
    return (
        f"{site.speedscope_url}#profileURL={quote(download, safe='')}&title={quote(title, safe='', errors='replace')}"
    )


def speedscope_headers(site: Site, request: Request) -> Mapping[str, str]:
    """What lets speedscope, and no other page, read the answer to a GET."""
    if not site.speedscope_url or not site.access.is_open:
        return {}
    origin = origin_of(site.speedscope_url)
    is_allowed = bool(origin) and request.headers.get("origin") == origin
    return {"Vary": "Origin"} | ({"Access-Control-Allow-Origin": origin} if is_allowed else {})


def origin_of(url: str) -> str:
    """The origin of a page as browsers write it; "" for what is on no web server.

    >>> origin_of("HTTPS://Speedscope.example:443/a/index.html"), origin_of("http://[::1]:8080/")
    ('https://speedscope.example', 'http://[::1]:8080')
    >>> origin_of("file:///speedscope/index.html"), origin_of("javascript:alert(1)")
    ('', '')
    """
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2].lower()
    if parts.scheme not in _DEFAULT_PORTS or not netloc:
        return ""
    return f"{parts.scheme}://{netloc.removesuffix(_DEFAULT_PORTS[parts.scheme])}"
