# cython: language_level=3
"""What pages hold: a fill byte in the frame record, and a sparse store of differing bytes.

A page's content is its fill byte everywhere, or, with PG_byte0, the fill byte at offset 0 and zeros after it; with
PG_bytes the store holds (offset, byte) pairs that override this.  A huge folio whose records are implicit holds the
same in all its pages: that of its head.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from foliosim._core.flags cimport PG_CONTENT_MASK, PG_FILL_SHIFT, PG_byte0
from foliosim._core.types cimport *

cdef struct byte_t:
    uint16_t offset
    uint8_t value
    uint8_t zero             # so that copies of a machine are alike byte by byte

cdef struct entry_t:         # differing bytes of one page
    uint32_t pfn             # FS_NO_PFN: free slot
    uint32_t n, cap
    uint32_t zero            # likewise
    byte_t *bytes            # ascending by offset

cdef struct store_t:         # open addressing by pfn, at most 3/4 full
    uint32_t mask
    uint32_t used
    entry_t *slots

cdef inline uint32_t flags_with_byte0(uint32_t flags, uint8_t value) noexcept nogil:
    """page_t.flags of a page that holds value at offset 0 and zeros after it."""
    return (flags & ~PG_CONTENT_MASK) | (<uint32_t>value << PG_FILL_SHIFT) | (PG_byte0 if value else 0)

cdef uint8_t content_read(machine_t *m, uint32_t pfn, uint32_t offset) noexcept nogil
# 0 or -FS_EHOSTMEM.  The folio's records must not be implicit.
cdef int content_write(machine_t *m, uint32_t pfn, uint32_t offset, uint8_t value) noexcept nogil
# Bytes start..end-1 of the page.  0 or -FS_EHOSTMEM.  The folio's records must not be implicit.
cdef int content_fill(machine_t *m, uint32_t pfn, uint32_t start, uint32_t end, uint8_t value) noexcept nogil
cdef int content_copy(machine_t *m, uint32_t dst, uint32_t src) noexcept nogil
# Move what a page holds out of it, into it (0 or -FS_EHOSTMEM), or nowhere.
cdef void content_save(machine_t *m, uint32_t pfn, content_t *content) noexcept nogil
cdef int content_restore(machine_t *m, uint32_t pfn, content_t *content) noexcept nogil
cdef void content_forget(content_t *content) noexcept nogil
cdef uint8_t content_saved_byte(const content_t *content, uint32_t offset) noexcept nogil
cdef bint content_is_zero(machine_t *m, uint32_t pfn) noexcept nogil
# Forget the stored bytes of a page with PG_bytes.
cdef void content_drop(machine_t *m, uint32_t pfn) noexcept nogil
cdef void content_deinit(machine_t *m) noexcept nogil
cdef page_t *content_page(machine_t *m, uint32_t pfn) noexcept nogil
