"""Signing in with the token, for browsers: a cookie names a session of some hours; programs send the token itself.

Who may do what is decided by `security`. Add another way to sign in here.
"""

import time

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.web.site import Site
from pyro_assets.web.wire.requests import first, values_of
from pyro_assets.web.wire.security import SESSION_COOKIE, is_the_token


def routes(site: Site) -> list[Route]:
    """`/login` and `/logout`."""

    def show(request: Request) -> Response:
        return _page(site, request, _own_path(request.query_params.get("next", "")))

    def sign_in(request: Request) -> Response:
        form = values_of(request)
        target = _own_path(first(form, "next"))
        token = first(form, "token").strip()
        if not site.access.token or not is_the_token(site.access, site.guesses, request.scope, token):
            return _page(site, request, target, "this is not the token", 401)
        response = RedirectResponse(target, 303)
        response.set_cookie(
            SESSION_COOKIE,
            site.sessions.begin(time.monotonic()),
            httponly=True,
            # A link from Dagster's pages must find people signed in; forms have tokens of their own.
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    def sign_out(request: Request) -> Response:
        site.sessions.end(request.cookies.get(SESSION_COOKIE, ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(SESSION_COOKIE)
        return response

    return [
        Route("/login", show, methods=["GET"]),
        Route("/login", sign_in, methods=["POST"]),
        Route("/logout", sign_out, methods=["POST"]),
    ]


def _page(site: Site, request: Request, target: str, problem: str = "", code: int = 200) -> Response:
    wants_token = bool(site.access.token)
    # Who is not known yet is told no name and no trouble of ours, and led to no page that would lead back here.
    hidden = {"navigation": (), "troubles": {}, "user": "", "dagster_url": ""} if wants_token else {}
    return site.page(
        request, "login.html", status_code=code, next=target, problem=problem, wants_token=wants_token, **hidden
    )


def _own_path(path: str) -> str:
    r"""A path of this site, never another site's address.

    >>> _own_path("/rules?x=1"), _own_path("//evil.example"), _own_path("https://evil"), _own_path("/\\evil")
    ('/rules?x=1', '/', '/', '/')
    """
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"
