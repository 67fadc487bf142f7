"""RE2's character classes as ranges of characters, for `regex`.

Add a class that RE2 knows; reading patterns has its own module.
"""

from typing import Final

#: (first, last) characters as numbers, both included.
Ranges = tuple[tuple[int, int], ...]

UNICODE_END: Final = 0x10FFFF

PERL_CLASSES: Final[dict[str, Ranges]] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 10), (12, 13), (32, 32)),
}
POSIX_CLASSES: Final[dict[str, Ranges]] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
# What folds to an ASCII letter without being one.
_FOLDING: Final = {ord("s"): 0x17F, ord("k"): 0x212A}


def complement(ranges: Ranges, *, ignores_case: bool = False) -> Ranges:
    """All other characters; without case, also none that folds to one of the ranges.

    >>> complement(((0, 64), (91, 0x10FFFF)))
    ((65, 90),)
    """
    if ignores_case:
        ranges += tuple(
            (other, other) for code, other in _FOLDING.items() if any(low <= code <= high for low, high in ranges)
        )
    result, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            result.append((begin, low - 1))
        begin = high + 1
    if begin <= UNICODE_END:
        result.append((begin, UNICODE_END))
    return tuple(result)


def as_class_character(code: int) -> str:
    r"""A character as `re` takes it inside of brackets.

    >>> print(as_class_character(93), as_class_character(0x1F600))
    \x5d \U0001f600
    """
    return f"\\x{code:02x}" if code < 256 else f"\\U{code:08x}"
