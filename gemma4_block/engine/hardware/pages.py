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
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    # Memory that is not a file's would be zeroes afterwards.
    if tensor.is_contiguous() and start < end and _is_of_a_file(start, end):
        # A refusal leaves the pages where they are, and does no harm.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def _is_of_a_file(start: int, end: int) -> bool:
    """Say whether addresses are one file's; what torch says of a storage misses files that others mapped."""
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
