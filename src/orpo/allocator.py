"""How a process that trains on a CPU allocates memory, from now to its end.

A step frees and allocates the same gigabytes as the one before.  Each time that it gets them from the system,
this clears every page: a tenth of a step's time and more.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of mallopt(3): free memory at the end of the heap that is given back, and blocks outside of the heap."""

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Torch's own switch, which it reads when it allocates its first tensor."""


def use_huge_pages(pages: Path = Path("/sys/kernel/mm/transparent_hugepage")) -> None:
    """Let torch begin tensors of 2 MiB and more on a page, and ask the system for huge pages for them.

    There are fewer pages to clear and to look up.  And glibc before 2.38 uses a freed block again for one of
    the same size only if what lies around it can be joined to it, which is so from a page's alignment on;
    else holes remain.  To be called before the first tensor; what the user has set stays.

    Args:
        pages: the folder of the kernel's settings; without it the system has no such pages.
    """
    if pages.exists():
        os.environ.setdefault(HUGE_PAGES, "1")


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next step, instead of giving it back and asking again.

    Only glibc is known to behave so and has this setting; for the rest of the process, the peak of its memory
    stays its own.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        c_library = ctypes.CDLL(None)
        c_library.mallopt(_M_TRIM_THRESHOLD, -1)
        c_library.mallopt(_M_MMAP_MAX, 0)
