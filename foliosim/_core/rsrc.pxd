# cython: language_level=3
"""Registered buffers (io_uring/rsrc.c): pins, and what they count against RLIMIT_MEMLOCK."""
from libc.stdint cimport int64_t, uint32_t
from foliosim._core.machine cimport CoreMachine, CoreProcess, CoreReference, Hold

cdef class CoreBuffer(CoreReference):     # io_mapped_ubuf
    cdef CoreBuffers ring
    cdef int64_t acct_pages      # charged until this buffer goes
    cdef set folios              # heads of the large folios that it has pages of
    cdef set shared              # heads of those that the ring is charged for while any buffer has pages of them

cdef class CoreBuffers:                   # io_ring_ctx, as far as its buf_table
    cdef readonly CoreProcess process
    cdef list nodes              # CoreBuffer, or None
    cdef dict shared             # head -> [buffers that share the charge, pages]
    cdef int64_t limit           # pages; -1: the user has CAP_IPC_LOCK
    cdef int64_t last            # head of the large folio that this call met last; -1: none

    cdef int64_t account(self, CoreBuffer buffer) except? -1
    cdef int charge(self, int64_t pages) except -1
    cdef int64_t register(self, list spans) except? -1
    cdef int64_t update_slot(self, int64_t index, object span) except? -1
    cdef int64_t make(self, CoreBuffer buffer, object span) except? -1
    cdef int64_t fill(self, list nodes, list spans) except? -1
    cdef int forget(self, list nodes) except -1
