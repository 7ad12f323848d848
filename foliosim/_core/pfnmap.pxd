# cython: language_level=3
"""Device memory in page tables: leaves at any level, without folios (mm/huge_memory.c, mm/memory.c: VM_PFNMAP)."""
from libc.stdint cimport uint32_t, uint64_t
from foliosim._core.flags cimport FS_PAGE_SHIFT
from foliosim._core.types cimport *

# A fault in a VMA of device memory: 0 or VM_FAULT_OOM.
cdef int do_device_fault(machine_t *m, vma_t *vma, uint64_t addr, uint32_t flags) noexcept nogil
# Of such a VMA: unmap a range; give a range the VMA's protection; copy all of src to the child's.  0, or -ENOMEM.
cdef void zap_device_range(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end) noexcept nogil
cdef void change_device_range(machine_t *m, vma_t *vma, uint64_t addr, uint64_t end) noexcept nogil
cdef int copy_device_range(machine_t *m, vma_t *dst, const vma_t *src) noexcept nogil
# Is any device memory mapped in [start, end)?
cdef bint range_has_device(const machine_t *m, const mm_t *mm, uint64_t start, uint64_t end) noexcept nogil

cdef inline uint32_t device_pfn(const vma_t *vma, uint64_t addr) noexcept nogil:
    """The frame that an address of such a VMA is mapped to."""
    return vma.file.first_pfn + <uint32_t>(vma.pgoff + ((addr - vma.start) >> FS_PAGE_SHIFT))
