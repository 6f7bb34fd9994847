"""The C library's allocator, told how this program uses memory: large tensors, again and again."""

from __future__ import annotations

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BLOCK, _KEPT_TOTAL = 64 * 2**20, 2**30  # bytes


def keep_freed_memory() -> bool:
    """Keeps up to 1 GiB of freed memory in this process for the next tensors; huge pages for large.

    glibc gives freed memory back to the kernel early, and each new tensor pays a page fault per
    4 KiB: 12 ms for 50 MB, longer than most of what is computed in it. Blocks up to 64 MiB now
    stay, larger ones are still given back; torch asks for pages of 2 MiB (THP_MEM_ALLOC_ENABLE,
    unless the user has set it). A program calls this once, before torch is imported; a library
    leaves its host alone.

    Returns:
        Whether the C library is glibc and took both settings.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _KEPT_TOTAL)
    )
