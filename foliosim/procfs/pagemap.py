"""/proc/PID/pagemap: one 64-bit word per page of the address space.  Follows pagemap_read (fs/proc/task_mmu.c)."""
from foliosim._core import procfs as _core

PAGE = 4096
TASK_SIZE = (1 << 47) - PAGE
SIZE = TASK_SIZE // PAGE * 8
_CHUNK = 1 << 20  # pages read at once


def pagemap(process, offset, size):
    """Bytes of /proc/PID/pagemap, as a reader with CAP_SYS_ADMIN gets them.

    Parameters
    ----------
    process : Process
    offset, size : int
        Position in the file and bytes wanted, multiples of 8.

    Returns
    -------
    bytes
        Fewer than wanted at the end of the address space.

    Raises
    ------
    ValueError
        Not multiples of 8 (the kernel: EINVAL).
    """
    if offset % 8 or size % 8 or offset < 0 or size < 0:
        raise ValueError(f"pagemap at {offset}, {size} bytes: must be multiples of 8")
    size = max(0, min(size, SIZE - offset))
    return process.pagemap(offset // 8 * PAGE, size // 8 * PAGE).tobytes()


def pieces(process):
    """(offset in the file, bytes) of the parts of the file that are not all zero."""
    for start, end, *_ in _core.areas(process):
        for addr in range(start, end, _CHUNK * PAGE):
            words = process.pagemap(addr, min(end - addr, _CHUNK * PAGE))
            if words.any():
                yield addr // PAGE * 8, words.tobytes()
