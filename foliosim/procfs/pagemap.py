"""/proc/PID/pagemap: one 64-bit word per page of the address space.  Follows pagemap_read (fs/proc/task_mmu.c)."""
_CHUNK = 1 << 20  # pages read at once


def file_size(machine):
    """Bytes of /proc/PID/pagemap."""
    return machine.task_size // machine.page_size * 8


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
    size = max(0, min(size, file_size(process.machine) - offset))
    page = process.machine.page_size
    return process.pagemap(offset // 8 * page, size // 8 * page).tobytes()


def pieces(process):
    """(offset in the file, bytes) of the parts of the file that are not all zero."""
    page = process.machine.page_size
    for start, end, *_ in process.machine.core.procfs.areas(process):
        for addr in range(start, end, _CHUNK * page):
            words = process.pagemap(addr, min(end - addr, _CHUNK * page))
            if words.any():
                yield addr // page * 8, words.tobytes()
