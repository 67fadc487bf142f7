"""Who has signed in to this process, and who has guessed wrong tokens: its memory, bounded, safe for threads.

A session ends when its time is over, when somebody signs out, and with the process. What is refused because of either
is `security`'s and `signing_in`'s to decide.
"""

import secrets
import threading
from collections import OrderedDict
from typing import Final

SESSION_SECONDS: Final = 12 * 3600
_MOST_SESSIONS: Final = 10_000
_MOST_CLIENTS: Final = 10_000
#: Mistakes without a delay: people paste the wrong thing.
_FREE_GUESSES: Final = 5
_LONGEST_DELAY_SECONDS: Final = 300.0


class Sessions:
    """Sessions by the secret in their cookie."""

    def __init__(self) -> None:
        self._end: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, now_seconds: float) -> str:
        """The secret of a new session; the oldest one ends where there are too many."""
        secret = secrets.token_urlsafe(24)
        with self._lock:
            self._end[secret] = now_seconds + SESSION_SECONDS
            while len(self._end) > _MOST_SESSIONS:
                self._end.popitem(last=False)
        return secret

    def is_valid(self, secret: str, now_seconds: float) -> bool:
        """Whether a session has begun and not ended.

        >>> sessions = Sessions()
        >>> secret = sessions.begin(0.0)
        >>> sessions.is_valid(secret, 60.0), sessions.is_valid("", 60.0), sessions.is_valid(secret, 1e6)
        (True, False, False)
        """
        with self._lock:
            return now_seconds < self._end.get(secret, 0.0)

    def end(self, secret: str) -> None:
        """Ends a session, for whoever else has its cookie too."""
        with self._lock:
            self._end.pop(secret, None)


class Guesses:
    """Wrong tokens per client (an address): each beyond a few doubles the time until the next one is looked at."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, client: str, now_seconds: float) -> float:
        """How long nothing that this client sends as a token is looked at, 0 for not at all."""
        with self._lock:
            _, until = self._wrong.get(client, (0, 0.0))
        return max(until - now_seconds, 0.0)

    def was_wrong(self, client: str, now_seconds: float) -> None:
        """Notes a wrong token.

        >>> guesses = Guesses()
        >>> for _ in range(8):
        ...     guesses.was_wrong("10.0.0.1", 0.0)
        >>> guesses.wait_seconds("10.0.0.1", 1.0), guesses.wait_seconds("10.0.0.2", 1.0)
        (3.0, 0.0)
        """
        with self._lock:
            count = self._wrong.pop(client, (0, 0.0))[0] + 1
            beyond = count - _FREE_GUESSES - 1
            delay = min(2.0 ** min(beyond, 30), _LONGEST_DELAY_SECONDS) if beyond >= 0 else 0.0
            self._wrong[client] = (count, now_seconds + delay)
            while len(self._wrong) > _MOST_CLIENTS:
                self._wrong.popitem(last=False)

    def was_right(self, client: str) -> None:
        """Forgets the mistakes of a client that knows the token."""
        with self._lock:
            self._wrong.pop(client, None)
