"""Give pages of a mapped file back to the system before the file is closed."""

import ctypes
import mmap
from pathlib import Path
from typing import Final

import torch

# Source: include/uapi/asm-generic/mman-common.h of Linux.
_DONT_NEED: Final = 4


def give_back_pages(tensor: torch.Tensor) -> None:
    """Take the pages of a tensor out of this process where they are a file's, and do nothing elsewhere.

    They would count as resident until the whole file is closed. Who reads the tensor afterwards reads the
    file again, without what was changed in the tensor.

    Args:
        tensor: One that nobody needs any more. Pages that it shares with a neighbour stay.

    """
    start, end = _find_pages(tensor)
    # Memory that is not a file's would be zeroes afterwards.
    if is_of_a_file(tensor):
        # A refusal leaves the pages where they are, and does no harm.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def is_of_a_file(tensor: torch.Tensor) -> bool:
    """Say whether a tensor's pages are one file's; what torch says misses files that others mapped."""
    start, end = _find_pages(tensor)
    if not tensor.is_contiguous() or start >= end:
        return False
    # Source: proc_pid_maps(5): addresses, permissions, offset, device, inode, path; inode 0 is no file.
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return False
    for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
        addresses, _, _, _, inode, *_ = line.split(maxsplit=5)
        first, last = (int(address, 16) for address in addresses.split("-"))
        if first <= start and end <= last:
            return inode != "0"
    return False


def _find_pages(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the addresses of the first whole page and of the end of the last."""
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    return start, (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
