r"""Untrusted bytes as text: names of tenants, services, labels and functions, everywhere the same and never two as one.

Text that is UTF-8 stays as it is; any other byte becomes `\xff`. So that no text looks like such a byte, a backslash
before an `x` and two hexadecimal digits becomes `\x5c`: turning every `\x..` back into its byte
gives the original. Names that were different are different wherever they are shown, sent or compared.

Here, too: what people read in sentences, such as a count with its noun.
"""

import re
from typing import Final

_LOOKS_ESCAPED: Final = re.compile(rb"\\(?=x[0-9a-f]{2})")


def show_bytes(data: bytes) -> str:
    r"""Bytes as text; different bytes are different texts.

    >>> show_bytes(b"caf\xc3\xa9 \xff"), show_bytes(rb"C:\dir"), show_bytes(rb"caf\xff")
    ('café \\xff', 'C:\\dir', 'caf\\x5cxff')
    """
    if b"\\x" in data:
        data = _LOOKS_ESCAPED.sub(rb"\\x5c", data)
    return data.decode("utf-8", "backslashreplace")


def printable(data: bytes) -> str:
    r"""Bytes as text that every database, terminal and JSON file takes: control characters are escaped, too.

    >>> printable(b"acme"), printable(b"a\xff\0"), printable("a\u202e".encode())
    ('acme', 'a\\xff\\x00', 'a\\xe2\\x80\\xae')
    """
    text = show_bytes(data)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in text)


def first_line(error: BaseException) -> str:
    """The first line of what a library says of a failure; the name of its class where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def counted(count: int, noun: str, many: str = "") -> str:
    """A count with its noun.

    >>> counted(1, "segment"), counted(1_200, "segment"), counted(0, "series", "series")
    ('1 segment', '1,200 segments', '0 series')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
