# cython: language_level=3
"""How operations end, and machines."""
from libc.stdlib cimport free
from foliosim._core.age cimport age_deinit
from foliosim._core.content cimport content_deinit
from foliosim._core.mlock cimport lru_add_drain
from foliosim._core.mmap cimport exit_mmap, mm_free
from foliosim._core.page_alloc cimport page_alloc_deinit
from foliosim._core.partial_unmap cimport split_marked
from foliosim._core.swapfile cimport swap_deinit


cdef void drain_batches(machine_t *m) noexcept nogil:
    """What the end of every operation does: nothing waits on a CPU's batches, or to be split."""
    lru_add_drain(m)
    if m.nr_split_now:
        split_marked(m)


cdef void free_machine(machine_t *m) noexcept nogil:
    cdef mm_t *mm
    while m.mm_first != NULL:
        mm = m.mm_first
        exit_mmap(m, mm, False)
        mm_free(m, mm)
    swap_deinit(m)
    content_deinit(m)
    free(m.mappings)
    free(m.mm_ids)
    free(m.split_now)
    age_deinit(m)
    page_alloc_deinit(m)
