# cython: language_level=3
"""Where mmap places a mapping.  Follows: __get_unmapped_area (mm/mmap.c), arch_get_unmapped_area_topdown
(arch/x86/kernel/sys_x86_64.c), __thp_get_unmapped_area (mm/huge_memory.c), shmem_get_unmapped_area (mm/shmem.c)."""
from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.flags cimport *
from foliosim._core.types cimport *
from foliosim._core.maple_tree cimport find_vma, maple_last, vma_find
from foliosim._core.vma cimport vm_start_gap

cdef extern from *:
    """
    /* top of the mmap area: below the stack's 8 MiB and its guard gap, at least 128 MiB below the top */
    #define FS_MMAP_GAP (128ULL << 20)
    #define FS_MAP_32BIT 0x40
    #define FS_MAP_ABOVE4G 0x80
    #define FS_SHMEM_HUGE_DENY (-1)
    #define FS_SHMEM_HUGE_FORCE (-2)
    """
    const uint64_t FS_MMAP_GAP
    enum:
        FS_MAP_32BIT, FS_MAP_ABOVE4G, FS_SHMEM_HUGE_DENY, FS_SHMEM_HUGE_FORCE

cdef int64_t unmapped_area_topdown(const mm_t *mm, uint64_t len, uint64_t low, uint64_t high) noexcept nogil:
    """Highest place for len bytes in [low, high), or -ENOMEM.  Follows: unmapped_area_topdown (mm/vma.c)."""
    cdef const vma_t *next = find_vma(mm, high - 1)   # what bounds the gap from above
    cdef const vma_t *prev = next.prev if next != NULL else maple_last(&mm.vmas)
    cdef uint64_t gap_start, gap_end
    while True:
        gap_end = vm_start_gap(next) if next != NULL and vm_start_gap(next) < high else high
        gap_start = prev.end if prev != NULL and prev.end > low else low
        if gap_end >= gap_start and gap_end - gap_start >= len:
            return <int64_t>(gap_end - len)
        if prev == NULL or prev.end <= low:
            return -ENOMEM
        next = prev
        prev = prev.prev

cdef int64_t unmapped_area(const mm_t *mm, uint64_t len, uint64_t low, uint64_t high) noexcept nogil:
    """Lowest place for len bytes in [low, high), or -ENOMEM.  Follows: unmapped_area (mm/vma.c)."""
    cdef const vma_t *next = find_vma(mm, low)
    cdef uint64_t at = low
    while True:
        if high < len or at > high - len:
            return -ENOMEM
        if next == NULL or (vm_start_gap(next) >= at and vm_start_gap(next) - at >= len):
            return <int64_t>at
        at = next.end
        next = next.next

cdef bint hint_is_free(const mm_t *mm, uint64_t addr, uint64_t len) noexcept nogil:
    # follows mmap_address_hint_valid and the hint test of arch_get_unmapped_area_topdown
    cdef const vma_t *next
    if addr > mm.m.task_size - len or (addr > mm.m.map_window) != (addr + len > mm.m.map_window):
        return False
    next = find_vma(mm, addr)
    return next == NULL or addr + len <= vm_start_gap(next)

cdef inline uint64_t mmap_end(const machine_t *m, uint64_t hint) noexcept nogil:
    """Addresses beyond the default window only for those who ask for them (arch_get_mmap_end)."""
    return m.task_size if hint > m.map_window else m.map_window

cdef inline uint64_t legacy_base(const machine_t *m) noexcept nogil:
    """Where a bottom-up search starts if nothing is free below: a third of the address space."""
    return (m.map_window // 3 + FS_PAGE_SIZE - 1) & ~(FS_PAGE_SIZE - 1)

cdef int64_t search(const mm_t *mm, uint64_t addr, uint64_t len, uint64_t flags) noexcept nogil:
    """Follows: arch_get_unmapped_area_topdown, arch_get_unmapped_area."""
    cdef int64_t found
    cdef uint64_t top = mmap_end(mm.m, addr), low = FS_PAGE_SIZE
    if len > mm.m.task_size:
        return -ENOMEM
    if flags & FS_MAP_FIXED:
        return <int64_t>addr
    if addr and hint_is_free(mm, addr & ~(FS_PAGE_SIZE - 1), len):
        return <int64_t>(addr & ~(FS_PAGE_SIZE - 1))
    if flags & FS_MAP_32BIT:
        return unmapped_area(mm, len, 0x40000000, 0x80000000)
    if flags & FS_MAP_ABOVE4G:
        low = 1ULL << 32
    found = unmapped_area_topdown(mm, len, low, top - FS_MMAP_GAP)
    if found < 0:
        found = unmapped_area(mm, len, legacy_base(mm.m), top)
    return found

cdef int64_t thp_search(const mm_t *mm, uint64_t addr, uint64_t len, uint64_t offset, uint64_t flags) noexcept nogil:
    """As aligned as in the file, if there is a whole 2 MiB block and room.  Follows: thp_get_unmapped_area."""
    cdef uint64_t aligned = (offset + FS_PMD_SIZE - 1) & ~(FS_PMD_SIZE - 1), up
    cdef int64_t found
    if offset + len <= aligned or offset + len - aligned < FS_PMD_SIZE:
        return search(mm, addr, len, flags)
    found = search(mm, addr, len + FS_PMD_SIZE, flags)
    if found < 0:
        return search(mm, addr, len, flags)
    if <uint64_t>found == addr:
        return found
    up = (offset - <uint64_t>found) & (FS_PMD_SIZE - 1)
    return found + <int64_t>(up if up else FS_PMD_SIZE)

cdef uint64_t shmem_alignment(const machine_t *m, const mapping_t *file) noexcept nogil:
    # bytes shmem wants its mappings aligned to; 0: pages will do
    cdef int huge = m.thp.shmem_enabled
    cdef bint on = huge > 0 and (file == NULL or file.kind != MAPPING_TMPFS)
    cdef uint32_t orders
    if huge == FS_SHMEM_HUGE_DENY:
        return 0
    if huge == FS_SHMEM_HUGE_FORCE:
        return FS_PMD_SIZE
    if file == NULL:
        orders = m.thp.shmem_always | m.thp.shmem_within_size | m.thp.shmem_advise
        if on:
            orders |= m.thp.shmem_inherit
        if orders:
            return FS_PAGE_SIZE << highest_order(orders)
    return FS_PMD_SIZE if on else 0

cdef inline int highest_order(uint32_t orders) noexcept nogil:
    cdef int order = 31
    while not orders >> order & 1:
        order -= 1
    return order

cdef int64_t shmem_search(const machine_t *m, const mm_t *mm, const mapping_t *file, uint64_t hint, uint64_t len,
                          uint64_t pgoff, uint64_t flags) noexcept nogil:
    """Follows: shmem_get_unmapped_area."""
    cdef int64_t found = search(mm, hint, len, flags)
    cdef uint64_t size = shmem_alignment(m, file)
    cdef uint64_t offset, inflated, addr
    cdef int64_t roomy
    if found < 0 or flags & FS_MAP_FIXED or <uint64_t>found == hint or size == 0 or len < size:
        return found
    offset = (pgoff << FS_PAGE_SHIFT) & (size - 1)
    if (offset and offset + len < 2 * size) or <uint64_t>found & (size - 1) == offset:
        return found
    inflated = len + size - FS_PAGE_SIZE
    if inflated > m.task_size:
        return found
    roomy = search(mm, hint, inflated, flags)
    if roomy < 0:
        return found
    addr = (<uint64_t>roomy & ~(size - 1)) + offset
    if <uint64_t>roomy & (size - 1) > offset:
        addr += size
    return <int64_t>addr if addr <= m.task_size - len else found

cdef int64_t get_unmapped_area(machine_t *m, mm_t *mm, mapping_t *file, uint64_t addr, uint64_t len, uint64_t pgoff,
                               uint64_t flags) noexcept nogil:
    cdef int64_t found
    if len > m.task_size:
        return -ENOMEM
    if mm.next_area and not flags & FS_MAP_FIXED:
        found = <int64_t>mm.next_area
        mm.next_area = 0
        if vma_find(mm, <uint64_t>found, <uint64_t>found + len) != NULL:
            return -ENOMEM
    elif file != NULL and file.kind == MAPPING_DISK:
        found = thp_search(mm, addr, len, pgoff << FS_PAGE_SHIFT, flags)
    elif file != NULL and file.kind != MAPPING_DEVICE:
        found = shmem_search(m, mm, file, addr, len, pgoff, flags)
    elif file == NULL and flags & FS_MAP_SHARED:
        found = shmem_search(m, mm, NULL, addr, len, 0, flags)
    elif file == NULL and addr == 0 and len & (FS_PMD_SIZE - 1) == 0 and not flags & FS_MAP_FIXED:
        found = thp_search(mm, 0, len, 0, flags)
    else:
        found = search(mm, addr, len, flags)
    if found < 0 and not flags & FS_MAP_FIXED:
        return found
    if <uint64_t>found > m.task_size - len:
        return -ENOMEM
    if found & (FS_PAGE_SIZE - 1):
        return -EINVAL
    return found
