# cython: language_level=3
"""Was a folio used?  The accessed bits of all its mappings (mm/rmap.c: folio_referenced)."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from foliosim._core.types cimport *

cdef struct referenced_t:
    int32_t vmas             # VMAs through which it was used
    int64_t young, mapped    # pages whose entries are accessed, and pages that are mapped; a PMD counts its 512
    int64_t locked           # pages that locked VMAs map
    uint64_t vm_flags        # of the VMAs through which it was used; VM_LOCKED: it was mlocked now

# Look, and with `clear` make the entries old.  A folio that a locked VMA maps whole is mlocked.
cdef void folio_referenced(machine_t *m, uint32_t head, bint clear, referenced_t *found) noexcept nogil
# P23: all pages that were used lie in one half of the folio.  Looks as above, and makes all entries old.
cdef bint accessed_half(machine_t *m, uint32_t head, referenced_t *found) noexcept nogil
