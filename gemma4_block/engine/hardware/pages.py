"""Give pages of a mapped file back to the system before the file is closed."""

import ctypes
import mmap
import sys
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
    storage = tensor.untyped_storage()
    # Memory that is not a file's would be zeroes afterwards.
    if sys.platform != "linux" or storage.filename is None:
        return
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if tensor.is_contiguous() and start < end:
        # A refusal leaves the pages where they are, and does no harm.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)
