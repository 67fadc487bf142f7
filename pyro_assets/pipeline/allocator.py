"""How the C library keeps memory that arrays gave back.

Add other process-wide memory settings here; nothing here is needed for right results. A job makes and drops hundreds
of arrays of some megabytes; by default each is mapped and unmapped, and the kernel clears its pages again every time.
"""

import ctypes
from functools import cache
from typing import Final

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: The largest threshold that glibc takes on 64-bit machines.
_MMAP_THRESHOLD_BYTES: Final = 32 << 20
#: What a process may keep between jobs.
_KEPT_BYTES: Final = 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Let this process reuse freed memory up to 256 MiB instead of returning it to the system after every array.

    Returns:
        Whether it could be set; False where the C library is not glibc, which changes nothing but the speed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
