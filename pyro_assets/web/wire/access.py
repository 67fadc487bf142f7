"""Who may do what: settings of one process, and the names that it answers for.

Add a setting here; what is refused because of it is `security`'s to decide, who has signed in is `sessions`' to know.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pyro_assets.errors import SettingsError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: A token of fewer characters can be guessed by asking often enough.
MIN_TOKEN_CHARACTERS: Final = 16


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
        if self.token and len(self.token) < MIN_TOKEN_CHARACTERS:
            raise SettingsError(
                f"the token of the pages has {len(self.token)} characters, which can be guessed; "
                f"take at least {MIN_TOKEN_CHARACTERS}, for example what `openssl rand -hex 16` prints"
            )
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
