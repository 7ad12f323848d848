# cython: language_level=3
"""What validation counts for itself, from page tables, VMAs, lists and the caller's references."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

cdef struct folio_tally_t:   # by pfn of the head
    int32_t ptes             # PTEs that map any page of it
    int32_t pmds             # PMD leaves that map it
    int32_t nr_mapped        # pages that PTEs map
    int32_t slot[2]          # mappings by the mm that has the owner slot
    uint32_t mm_id           # an mm that maps it, 0: none yet
    int32_t several          # another one does too
    int32_t refs             # references of batches and of the caller
    int32_t pins             # pins of the caller
    int32_t listed           # times found: on LRU and free lists; for a table: references from entries and lists;
                             # -1: on a per-CPU list
    int32_t queued           # times found on the deferred split queue

cdef struct tally_t:
    machine_t *m
    uint32_t nr              # frames that were ever used: m.fresh_pfn
    int32_t *ptes            # by pfn: PTEs that map the page
    folio_tally_t *folios
    int32_t *swaps           # by slot: entries that hold it
    int64_t nr_tables        # page tables in use
    int64_t left             # records until give_way()

# 0, or -FS_EHOSTMEM.
cdef int tally_init(tally_t *t, machine_t *m) noexcept nogil
cdef void tally_deinit(tally_t *t) noexcept nogil
# Let other threads run, and raise what a signal's handler raises.
cdef int give_way(tally_t *t) except -1
# Append (object, field, counted, recomputed) if the numbers differ.  The object is "kind number", number in
# hexadecimal for frames.
cdef int compare(list out, str kind, uint64_t number, str field, int64_t counted, int64_t recomputed) except -1
# "kind number", as compare() names objects; and an address of a process.
cdef str object_name(str kind, uint64_t number)
cdef str address_name(const mm_t *mm, uint64_t addr)


cdef inline int looked_at(tally_t *t, int64_t records) except -1:
    """So many records were looked at; now and then that gives way."""
    t.left -= records
    return give_way(t) if t.left < 0 else 0
