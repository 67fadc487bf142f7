"""The server of the pages: uvicorn, with an end to connections that hold a place and ask nothing.

Add what concerns connections here. Requests that have arrived are the application's: `security` first.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

#: So long a client may take to send a request's head, from its connection or its last request on.
HEAD_SECONDS: Final = 10.0
#: So long a request may stay unfinished, by us or by a client that does not read its answer.
REQUEST_SECONDS: Final = 300.0
_NOTHING: Final = object()


def protocol_of(head_seconds: float, request_seconds: float) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, which ends a connection that is half open, sends its head byte by byte, or never reads.

    uvicorn itself only ends connections that are silent after an answer.

    Args:
        head_seconds: a connection without a request is closed after one to two times this.
        request_seconds: one with the same request, after one to two times `head_seconds` more than this.
    """

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # chosen at run time by what is installed
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch(_NOTHING, 0.0)

        def _watch(self, seen: object, waited: float) -> None:
            """Looks whether anything has changed since the last look."""
            if self.transport.is_closing():
                return
            cycle = self.cycle
            is_waiting = cycle is None or cycle.response_complete
            waited = waited + head_seconds if cycle is seen else 0.0
            if waited > 0.0 and (is_waiting or waited > request_seconds):
                self.transport.abort()
                return
            self.loop.call_later(head_seconds, self._watch, cycle, waited)

    return Patient


class PageServer(uvicorn.Server):
    """Answers requests until it is told to end, by a signal or by `should_exit`.

    Args:
        app: the application.
        host: address to listen at.
        port: 0 for any that is free.
        listening: called once, with the port, when requests are answered.
        head_seconds: see `protocol_of`.
        request_seconds: see `protocol_of`.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        listening: Callable[[int], None],
        *,
        head_seconds: float = HEAD_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._listening = listening
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=protocol_of(head_seconds, request_seconds),
                lifespan="off",
                # There are none, and uvicorn would import a library for them.
                ws="none",
                log_level="warning",
                # Headers of proxies are ours to judge: uvicorn would put the address they name in place of the proxy's.
                proxy_headers=False,
                server_header=False,
            )
        )

    async def startup(self, sockets: Any = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.started:
            self._listening(self.servers[0].sockets[0].getsockname()[1])
