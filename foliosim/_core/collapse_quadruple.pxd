# cython: language_level=3
"""P18 quadruple_active: small steps instead of a whole block."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# In the block at haddr, whose table the PMD entry holds, each four aligned neighbouring folios of one order, at least
# three of them active, become one folio.  SCAN_SUCCEED if there were any, else SCAN_FAIL; or -FS_EHOSTMEM.
cdef int quadruple_active(machine_t *m, vma_t *vma, uint64_t *pmd, uint64_t haddr) noexcept nogil
