# cython: language_level=3
"""Page contents (the kernel has the bytes themselves; here a fill byte and the bytes that differ)."""
from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove
from foliosim._core.flags cimport *
from foliosim._core.page cimport *

cdef inline uint32_t hash_pfn(uint32_t pfn) noexcept nogil:
    return <uint32_t>((<uint64_t>pfn * 0x9e3779b97f4a7c15ULL) >> 32)


cdef entry_t *store_find(store_t *store, uint32_t pfn) noexcept nogil:
    """The slot of a page, or the free slot where it belongs."""
    cdef uint32_t at = hash_pfn(pfn) & store.mask
    while store.slots[at].pfn != FS_NO_PFN and store.slots[at].pfn != pfn:
        at = (at + 1) & store.mask
    return store.slots + at


cdef int store_resize(store_t *store, uint32_t size) noexcept nogil:
    cdef entry_t *old = store.slots
    cdef uint32_t old_size = store.mask + 1 if old != NULL else 0
    cdef uint32_t i
    cdef entry_t *slots = <entry_t *>malloc(size * sizeof(entry_t))
    if slots == NULL:
        return -FS_EHOSTMEM
    for i in range(size):
        slots[i].pfn = FS_NO_PFN
    store.slots = slots
    store.mask = size - 1
    for i in range(old_size):
        if old[i].pfn != FS_NO_PFN:
            store_find(store, old[i].pfn)[0] = old[i]
    free(old)
    return 0


cdef entry_t *store_get(machine_t *m, uint32_t pfn) noexcept nogil:
    """The entry of a page, made if need be; NULL if the host has no memory."""
    cdef store_t *store = <store_t *>m.content
    cdef entry_t *entry
    if store == NULL:
        store = <store_t *>calloc(1, sizeof(store_t))
        if store == NULL or store_resize(store, 64) < 0:
            free(store)
            return NULL
        m.content = store
    entry = store_find(store, pfn)
    if entry.pfn == pfn:
        return entry
    if 4 * (store.used + 1) > 3 * (store.mask + 1):
        if store_resize(store, 2 * (store.mask + 1)) < 0:
            return NULL
        entry = store_find(store, pfn)
    entry.pfn = pfn
    entry.n = entry.cap = entry.zero = 0
    entry.bytes = NULL
    store.used += 1
    return entry


cdef int entry_at(const entry_t *entry, uint32_t offset) noexcept nogil:
    """Position of the first byte at or after offset."""
    cdef int low = 0, high = entry.n, mid
    while low < high:
        mid = (low + high) >> 1
        if entry.bytes[mid].offset < offset:
            low = mid + 1
        else:
            high = mid
    return low


cdef int entry_set(entry_t *entry, uint32_t offset, uint8_t value) noexcept nogil:
    cdef int at = entry_at(entry, offset)
    cdef byte_t *grown
    if at < entry.n and entry.bytes[at].offset == offset:
        entry.bytes[at].value = value
        return 0
    if entry.n == entry.cap:
        grown = <byte_t *>realloc(entry.bytes, sizeof(byte_t) * (2 * entry.cap + 4))
        if grown == NULL:
            return -FS_EHOSTMEM
        entry.bytes = grown
        entry.cap = 2 * entry.cap + 4
    memmove(entry.bytes + at + 1, entry.bytes + at, sizeof(byte_t) * (entry.n - at))
    entry.bytes[at].offset = <uint16_t>offset
    entry.bytes[at].value = value
    entry.bytes[at].zero = 0
    entry.n += 1
    return 0


cdef page_t *content_page(machine_t *m, uint32_t pfn) noexcept nogil:
    """The record that says what a page holds."""
    cdef page_t *folio = folio_of(m, pfn)
    return folio if page_kind(folio) == PG_KIND_ZERO else page_record(m, folio, pfn)


cdef inline uint8_t base_byte(const page_t *page, uint32_t offset) noexcept nogil:
    if page.flags & PG_byte0 and offset:
        return 0
    return <uint8_t>(page.flags >> PG_FILL_SHIFT)


cdef uint8_t content_read(machine_t *m, uint32_t pfn, uint32_t offset) noexcept nogil:
    cdef page_t *page = content_page(m, pfn)
    cdef entry_t *entry
    cdef int at
    if page.flags & PG_bytes:
        entry = store_find(<store_t *>m.content, pfn)
        at = entry_at(entry, offset)
        if at < entry.n and entry.bytes[at].offset == offset:
            return entry.bytes[at].value
    return base_byte(page, offset)


cdef int content_write(machine_t *m, uint32_t pfn, uint32_t offset, uint8_t value) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    cdef entry_t *entry
    if not page.flags & PG_bytes:
        if offset == 0 and (page.flags & PG_byte0 or not page.flags >> PG_FILL_SHIFT):
            page.flags = flags_with_byte0(page.flags, value)
            return 0
        if base_byte(page, offset) == value:
            return 0
    entry = store_get(m, pfn)
    if entry == NULL or entry_set(entry, offset, value) < 0:
        return -FS_EHOSTMEM
    page.flags |= PG_bytes
    return 0


cdef int content_fill(machine_t *m, uint32_t pfn, uint32_t start, uint32_t end, uint8_t value) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    cdef uint32_t offset
    if start == 0 and end == FS_PAGE_SIZE:
        if page.flags & PG_bytes:
            content_drop(m, pfn)
        page.flags = (page.flags & ~PG_CONTENT_MASK) | (<uint32_t>value << PG_FILL_SHIFT)
        return 0
    for offset in range(start, end):
        if content_write(m, pfn, offset, value) < 0:
            return -FS_EHOSTMEM
    return 0


cdef int content_copy(machine_t *m, uint32_t dst, uint32_t src) noexcept nogil:
    cdef page_t *from_page = content_page(m, src)
    cdef page_t *to_page = page_of(m, dst)
    cdef entry_t *entry
    cdef entry_t source
    cdef byte_t *copied
    if from_page.flags & PG_bytes:
        source = store_find(<store_t *>m.content, src)[0]
        copied = <byte_t *>malloc(sizeof(byte_t) * (source.n + 1))
        entry = store_get(m, dst)
        if copied == NULL or entry == NULL:
            free(copied)
            return -FS_EHOSTMEM
        memcpy(copied, source.bytes, sizeof(byte_t) * source.n)
        free(entry.bytes)
        entry.bytes = copied
        entry.n = source.n
        entry.cap = source.n + 1
    to_page.flags = (to_page.flags & ~PG_CONTENT_MASK) | (from_page.flags & PG_CONTENT_MASK)
    return 0


cdef void content_save(machine_t *m, uint32_t pfn, content_t *content) noexcept nogil:
    """The records of the page's folio must not be implicit."""
    cdef page_t *page = page_of(m, pfn)
    cdef entry_t *entry
    content_forget(content)
    content.flags = page.flags & PG_CONTENT_MASK
    if page.flags & PG_bytes:
        entry = store_find(<store_t *>m.content, pfn)
        content.n = entry.n
        content.bytes = entry.bytes
        entry.bytes = NULL
        content_drop(m, pfn)


cdef int content_restore(machine_t *m, uint32_t pfn, content_t *content) noexcept nogil:
    cdef page_t *page = page_of(m, pfn)
    cdef entry_t *entry
    if content.flags & PG_bytes:
        entry = store_get(m, pfn)
        if entry == NULL:
            return -FS_EHOSTMEM
        free(entry.bytes)
        entry.bytes = <byte_t *>content.bytes
        entry.n = entry.cap = content.n
        content.bytes = NULL
    page.flags = (page.flags & ~PG_CONTENT_MASK) | content.flags
    content_forget(content)
    return 0


cdef uint8_t content_saved_byte(const content_t *content, uint32_t offset) noexcept nogil:
    cdef const byte_t *stored = <const byte_t *>content.bytes
    cdef int i
    for i in range(content.n):
        if stored[i].offset == offset:
            return stored[i].value
    if content.flags & PG_byte0 and offset:
        return 0
    return <uint8_t>(content.flags >> PG_FILL_SHIFT)


cdef void content_forget(content_t *content) noexcept nogil:
    free(content.bytes)
    content.bytes = NULL
    content.n = 0
    content.flags = 0


cdef bint content_is_zero(machine_t *m, uint32_t pfn) noexcept nogil:
    cdef page_t *page = content_page(m, pfn)
    cdef entry_t *entry
    cdef int i, covered = 0
    cdef uint8_t fill = <uint8_t>(page.flags >> PG_FILL_SHIFT)
    if not page.flags & PG_bytes:
        return fill == 0
    entry = store_find(<store_t *>m.content, pfn)
    for i in range(entry.n):
        if entry.bytes[i].value:
            return False
        if not page.flags & PG_byte0 or entry.bytes[i].offset == 0:
            covered += 1
    return fill == 0 or covered == (1 if page.flags & PG_byte0 else <int>FS_PAGE_SIZE)


cdef void content_drop(machine_t *m, uint32_t pfn) noexcept nogil:
    """Remove the page's entry; later entries of the same probe run move up."""
    cdef store_t *store = <store_t *>m.content
    cdef page_t *page = page_of(m, pfn)
    cdef uint32_t at, hole, home
    page.flags &= ~PG_CONTENT_MASK
    if store == NULL:
        return
    hole = <uint32_t>(store_find(store, pfn) - store.slots)
    if store.slots[hole].pfn != pfn:
        return
    free(store.slots[hole].bytes)
    store.used -= 1
    at = hole
    while True:
        at = (at + 1) & store.mask
        if store.slots[at].pfn == FS_NO_PFN:
            break
        home = hash_pfn(store.slots[at].pfn) & store.mask
        if ((at - home) & store.mask) >= ((at - hole) & store.mask):
            store.slots[hole] = store.slots[at]
            hole = at
    store.slots[hole].pfn = FS_NO_PFN


cdef void content_deinit(machine_t *m) noexcept nogil:
    cdef store_t *store = <store_t *>m.content
    cdef uint32_t i
    if store == NULL:
        return
    for i in range(store.mask + 1):
        if store.slots[i].pfn != FS_NO_PFN:
            free(store.slots[i].bytes)
    free(store.slots)
    free(store)
    m.content = NULL
