"""HTTP requests that end: one deadline for connecting, sending, headers and body together.

`requests` limits each read of a socket, so that a server which sends a byte a second holds it for ever. Mount
`DeadlineAdapter` wherever this project asks another program something; what an answer means is not known here.
"""

import io
import time
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: When the request that is being made must be over, by `time.monotonic()`; None: whenever.
_ENDS_AT: Final[ContextVar[float | None]] = ContextVar("ends_at", default=None)
#: TLS sends records of at most this size, each with the socket's timeout of its own.
_SEND_BYTES: Final = 16 * 1024


class DeadlineAdapter(HTTPAdapter):
    """For `Session.mount`: the second number of `timeout` is for the whole request, the body of its answer included.

    The look-up of the host's name is the system's and has the system's limits.
    """

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Lets the pools of requests without a proxy make our connections."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **more: Any) -> Any:
        """Lets the pools of a proxy make our connections."""
        manager = super().proxy_manager_for(*args, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: Any, stream: bool = False, timeout: Any = None, *args: Any, **more: Any) -> Any:
        """Sends a request; see `HTTPAdapter.send`."""
        seconds = timeout[1] if isinstance(timeout, tuple) else timeout
        token = _ENDS_AT.set(None if seconds is None else time.monotonic() + seconds)
        try:
            return super().send(request, stream, timeout, *args, **more)
        finally:
            _ENDS_AT.reset(token)


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the request as a whole took too long")
    return left


class _Reader(io.RawIOBase):
    """A socket's bytes, as a file that cannot be read after a deadline."""

    def __init__(self, sock: Any, ends_at: float) -> None:
        self._sock, self._ends_at = sock, ends_at
        self._raw: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._ends_at))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """http.client's answer, of which status, headers and body come through one `_Reader`."""

    def __init__(self, sock: Any, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        ends_at = _ENDS_AT.get()
        if ends_at is not None:
            self.fp.close()
            self.fp = io.BufferedReader(_Reader(sock, ends_at))


class _Ends:
    """A connection whose sending, too, is over in time."""

    response_class: Any = _Response

    def send(self, data: Any) -> None:
        ends_at = _ENDS_AT.get()
        if ends_at is None or not isinstance(data, bytes) or self.sock is None:  # type: ignore[attr-defined]
            super().send(data)  # type: ignore[misc]
            return
        for begin in range(0, len(data), _SEND_BYTES):
            self.sock.settimeout(_left(ends_at))  # type: ignore[attr-defined]
            super().send(data[begin : begin + _SEND_BYTES])  # type: ignore[misc]


class _Http(_Ends, HTTPConnection):
    pass


class _Https(_Ends, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


_POOLS: Final = {"http": _HttpPool, "https": _HttpsPool}
