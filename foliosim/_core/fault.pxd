# cython: language_level=3
"""User-mode loads and stores: the MMU, and the fault handler behind it (arch/x86/mm/fault.c)."""
from libc.stdint cimport int64_t, uint8_t, uint64_t
from foliosim._core.types cimport *

cdef enum:
    SEGV_MAPERR = 1
    SEGV_ACCERR = 2
    BUS_ADRERR = 2

cdef enum access_e:
    ACCESS_TOUCH_READ, ACCESS_TOUCH_WRITE, ACCESS_READ, ACCESS_WRITE

cdef struct access_t:        # one series of accesses, and how it ended
    uint64_t addr, end       # bytes: addr, addr + stride, ... below end
    uint64_t stride
    int kind                 # access_e
    uint8_t value, delta     # ACCESS_WRITE: byte i is value + i * delta
    uint8_t *out             # ACCESS_READ: the bytes
    int64_t done             # accesses made
    int signal               # 0, or SIGSEGV (11) or SIGBUS (7)
    int si_code
    uint64_t si_addr

# 0; a signal is in the struct; -ENOMEM (no frame left), -FS_EHOSTMEM.
cdef int user_access(machine_t *m, mm_t *mm, access_t *a) noexcept nogil
