"""Who may do what: settings of one process, names that it answers for, and what shows that somebody has signed in.

Add a setting here; what is refused because of it is `security`'s to decide.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pyro_assets.errors import SettingsError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SESSION_SECONDS: Final = 12 * 3600


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what.

    Attributes:
        default_user: who edits where nobody says who they are.
        token: what people and programs must know; "" for none.
        trusted_header: the header in which a proxy names the user who signed in there; "" for none.
        proxies: addresses, or networks, from which that header counts.
        read_only: nothing can be changed.
        hosts: names (without ports) under which this process may be asked for; empty means any.
    """

    default_user: str = "unknown"
    token: str = ""
    trusted_header: str = ""
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    read_only: bool = False
    hosts: tuple[str, ...] = tuple(sorted(LOOPBACK))

    def __post_init__(self) -> None:
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise SettingsError(f"{proxy!r} is no address or network of a proxy, such as 10.0.0.0/8") from error

    @property
    def is_open(self) -> bool:
        """Whether everybody who reaches the process may use it."""
        return not self.token and not self.trusted_header


def hosts_of(host: str, *, web_url: str = "", others: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that requests may ask for: only these, which is what keeps foreign pages from rebinding theirs.

    Args:
        host: what the process is bound to. Bound to more than this machine it takes any name, unless some are given.
        web_url: the address that people use, "" where it is not configured.
        others: further names; ports of theirs do not count.

    >>> hosts_of("127.0.0.1", web_url="https://profiles.example/")
    ('127.0.0.1', '[::1]', 'localhost', 'profiles.example')
    >>> hosts_of("0.0.0.0")
    ()
    >>> hosts_of("0.0.0.0", others=["Profiles.example:9119"])
    ('127.0.0.1', '[::1]', 'localhost', 'profiles.example')
    """
    given = set(map(name_of, others))
    if web_url:
        given.add(name_of(urlsplit(web_url).netloc))
    if not is_loopback(host):
        return tuple(sorted(given | LOOPBACK)) if given else ()
    return tuple(sorted(given | LOOPBACK))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def name_of(netloc: str) -> str:
    """The name of an address without its port; an IPv6 address keeps its brackets."""
    return re.sub(r":\d*$", "", netloc).lower()


def session_of(token: str, now_seconds: float) -> str:
    """The cookie of somebody who knew the token, good for some hours."""
    end = str(int(now_seconds) + _SESSION_SECONDS)
    return f"{end}.{_signed(end, token)}"


def session_is_valid(cookie: str, token: str, now_seconds: float) -> bool:
    """Whether a cookie is one of `session_of` and not too old.

    >>> cookie = session_of("t", 0)
    >>> session_is_valid(cookie, "t", 60), session_is_valid(cookie, "u", 60), session_is_valid(cookie, "t", 1e6)
    (True, False, False)
    """
    end, _, signature = cookie.partition(".")
    if (
        not end.isdecimal()
        or len(end) > 20
        or not hmac.compare_digest(signature.encode(), _signed(end, token).encode())
    ):
        return False
    return now_seconds < int(end)


def _signed(text: str, token: str) -> str:
    return hmac.new(token.encode(), b"session:" + text.encode(), hashlib.sha256).hexdigest()
