"""ULIDs: 26 characters of Crockford base32, 48 bits of Unix milliseconds and 80 bits that make them distinct.

Text order is creation order. Only the canonical upper-case form is accepted: keys are compared as text.
"""

from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: The last millisecond that 48 bits can hold, in the year 10889.
MAX_TIME_MS: Final = 2**48 - 1
ENTROPY_BYTES: Final = 10

# The digits that `int` knows for base 32.
_DIGITS: Final = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_TIME_CHARACTERS: Final = 10
_CHARACTERS: Final = 26


def is_ulid(text: str) -> bool:
    """Whether `text` is a ULID in canonical form.

    >>> is_ulid("01M891VPM4XX31MPMZXPGM0RMZ"), is_ulid("01m891vpm4xx31mpmzxpgm0rmz")
    (True, False)
    """
    # Stripping stops at the first character that is none of a ULID's.
    return len(text) == _CHARACTERS and text[0] <= "7" and not text.strip(ALPHABET)


def ulid_time_ms(text: str) -> int:
    """The creation time in a ULID, Unix milliseconds.

    >>> ulid_time_ms("01M891VPM4XX31MPMZXPGM0RMZ")
    1795600276100

    Raises:
        ValueError: `text` is not a ULID.
    """
    if not is_ulid(text):
        raise ValueError(f"{text!r} is not a ULID")
    return _decode(text[:_TIME_CHARACTERS])


def make_ulid(time_ms: int, entropy: bytes) -> str:
    """The ULID of a time (Unix milliseconds) and 10 bytes of entropy, most significant byte first.

    >>> make_ulid(1795600276100, bytes(10))
    '01M891VPM40000000000000000'

    Raises:
        ValueError: the time does not fit 48 bits or the entropy is not 10 bytes.
    """
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise ValueError(f"{time_ms} ms does not fit a ULID's 48 bits")
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a ULID has {ENTROPY_BYTES} bytes of entropy, not {len(entropy)}")
    value = time_ms << 80 | int.from_bytes(entropy)
    return "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def ulid_entropy(text: str) -> bytes:
    """The 10 bytes of entropy of a ULID.

    >>> ulid_entropy(make_ulid(1, b"0123456789"))
    b'0123456789'

    Raises:
        ValueError: `text` is not a ULID.
    """
    if not is_ulid(text):
        raise ValueError(f"{text!r} is not a ULID")
    return _decode(text[_TIME_CHARACTERS:]).to_bytes(ENTROPY_BYTES)


def first_ulid(time_ms: int) -> str:
    """The smallest ULID of a millisecond (clamped to 48 bits), where a listing of all since then starts.

    >>> first_ulid(-5)
    '00000000000000000000000000'
    """
    return make_ulid(min(max(time_ms, 0), MAX_TIME_MS), bytes(ENTROPY_BYTES))


def _decode(text: str) -> int:
    return int(text.translate(_DIGITS), 32)
