# cython: language_level=3
"""References on pages, and the path that takes them where everything is mapped as wanted (mm/gup.c)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

# n references (FOLL_GET) or pins (FOLL_PIN) on a page (try_grab_folio).
cdef void grab_folio(machine_t *m, uint32_t pfn, int32_t n, uint32_t flags) noexcept nogil
# Drop what get_user_pages_fast took with these flags.
cdef void put_user_pages(machine_t *m, const uint32_t *pfns, int64_t nr, uint32_t flags) noexcept nogil
# Read-only entry, FOLL_PIN without FOLL_WRITE: must the page first become the process's own?
cdef bint gup_must_unshare(const vma_t *vma, page_t *folio, const page_t *page, uint32_t flags) noexcept nogil
# Take what is mapped as wanted from addr on, stop at the first page that is not; how many.
cdef int64_t gup_fast(machine_t *m, mm_t *mm, uint64_t addr, int64_t nr, uint32_t flags, uint32_t *pfns) noexcept nogil
