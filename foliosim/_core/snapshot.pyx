# cython: language_level=3
"""Copying the records of a machine: structs are copied whole, pointers become numbers and pointers again.

Each ``edges_of_*`` function names the pointers of one struct, and how much they point to; all other fields are carried
unseen.  A test compares these functions with the structs, so a new pointer cannot be forgotten.  An item's number
takes the place of a pointer to it.
"""
from libc.errno cimport EINVAL
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset
from foliosim._core.content cimport byte_t, entry_t, store_t
from foliosim._core.flags cimport *
from foliosim._core.page_alloc cimport NR_PCP_LISTS
from foliosim._core.types cimport *


# ---- items ----

cdef inline uint64_t hash_address(const image_t *w, const void *at) noexcept nogil:
    return (<uint64_t>at * 0x9e3779b97f4a7c15ULL) >> 32 & w.hash_mask


cdef int64_t find_item(const image_t *w, const void *at) noexcept nogil:
    """Number of the item at an address; 0: none."""
    cdef uint64_t slot = hash_address(w, at)
    while w.hash[slot]:
        if w.items[w.hash[slot] - 1].at == at:
            return w.hash[slot]
        slot = (slot + 1) & w.hash_mask
    return 0


cdef void hash_item(image_t *w, int64_t number) noexcept nogil:
    cdef uint64_t slot = hash_address(w, w.items[number - 1].at)
    while w.hash[slot]:
        slot = (slot + 1) & w.hash_mask
    w.hash[slot] = <int32_t>number


cdef bint more_items(image_t *w) noexcept nogil:
    cdef int64_t cap = w.cap * 2 if w.cap else 64, number
    cdef item_t *items = <item_t *>realloc(w.items, cap * sizeof(item_t))
    cdef int32_t *hash
    if items == NULL:
        return False
    w.items = items
    hash = <int32_t *>calloc(2 * cap, sizeof(int32_t))
    if hash == NULL:
        return False
    free(w.hash)
    w.cap, w.hash, w.hash_mask = cap, hash, 2 * cap - 1
    for number in range(1, w.nr + 1):
        hash_item(w, number)
    return True


cdef int64_t add_item(image_t *w, void *at, int record, uint64_t size, uint64_t used) noexcept nogil:
    cdef item_t *item
    if w.nr == w.cap and not more_items(w):
        w.error = -FS_EHOSTMEM
        return 0
    item = w.items + w.nr
    item.at, item.record, item.checked, item.size, item.used, item.offset = at, record, 0, size, used, 0
    w.nr += 1
    hash_item(w, w.nr)
    return w.nr


cdef void *find_record(image_t *w, uint64_t number, int record, uint64_t size) noexcept nogil:
    """Where item `number` was made, if it is such a record of such a size."""
    cdef item_t *item
    if number == 0:
        return NULL
    if number > <uint64_t>w.nr or w.items[number - 1].record != <uint32_t>record or w.items[number - 1].size != size:
        w.error = -EINVAL
        return NULL
    item = w.items + number - 1
    item.checked = 1
    return item.at


cdef void edge_part(image_t *w, void *field, int record, uint64_t size, uint64_t used) noexcept nogil:
    """A pointer to an array of `size` bytes, of which the first `used` mean something."""
    cdef void **pointer = <void **>field
    cdef int64_t number
    if pointer[0] == NULL:
        return
    if w.thaw:
        pointer[0] = find_record(w, <uint64_t>pointer[0], record, size)
        return
    number = find_item(w, pointer[0])
    if number == 0:
        number = add_item(w, pointer[0], record, size, used)
    pointer[0] = <void *>number


cdef inline void edge(image_t *w, void *field, int record, uint64_t size) noexcept nogil:
    """A pointer to a record of `size` bytes."""
    edge_part(w, field, record, size, size)


# ---- the pointers of each struct ----

cdef void edges_of_machine_t(image_t *w, machine_t *m) noexcept nogil:
    cdef int slot
    cdef swap_t *swap = &m.swap
    edge(w, &m.mm_first, RECORD_MM, sizeof(mm_t))
    edge(w, &m.mm_last, RECORD_MM, sizeof(mm_t))
    edge_part(w, &m.mm_ids, RECORD_BYTES, m.mm_ids_cap * sizeof(uint32_t), m.mm_ids_nr * sizeof(uint32_t))
    edge_part(w, &m.split_now, RECORD_BYTES, m.split_now_cap * sizeof(uint32_t), m.nr_split_now * sizeof(uint32_t))
    edge(w, &m.content, RECORD_STORE, sizeof(store_t))
    for slot in range(NR_PCP_LISTS):
        edge(w, &m.pcp[slot].runs, RECORD_BYTES, m.pcp[slot].cap * sizeof(pcp_run_t))
    edges_of_swap_t(w, m, swap)
    edges_of_age_t(w, m, &m.age)


cdef void edges_of_age_t(image_t *w, machine_t *m, age_t *age) noexcept nogil:
    edge_part(w, &age.stamp, RECORD_BYTES, m.nr_pages * sizeof(uint32_t), m.fresh_pfn * sizeof(uint32_t))


cdef void edges_of_swap_t(image_t *w, machine_t *m, swap_t *swap) noexcept nogil:
    cdef uint64_t clusters = (swap.nr + FS_HPAGE_PMD_NR - 1) // FS_HPAGE_PMD_NR
    edge(w, &swap.slots, RECORD_SLOTS, clusters * FS_HPAGE_PMD_NR * sizeof(swap_slot_t))
    edge(w, &swap.clusters, RECORD_BYTES, clusters * sizeof(swap_cluster_t))
    edge_part(w, &swap.of_page, RECORD_BYTES, m.nr_pages * sizeof(uint32_t), m.fresh_pfn * sizeof(uint32_t))


cdef void edges_of_mappings(image_t *w, machine_t *m, void **mappings) noexcept nogil:
    """Entries are pointers, or odd: the free list.  A free mapping id keeps its oddness, a number is doubled.

    What is found here for the first time has no VMA: the page cache of an open file.
    """
    cdef uint64_t number
    cdef uint32_t id
    for id in range(1, m.mappings_nr):
        number = <uint64_t>mappings[id]
        if number & 1:
            continue
        if w.thaw:
            number >>= 1
            if number == 0 or number > <uint64_t>w.nr:
                w.error = -EINVAL
                return
            mappings[id] = w.items[number - 1].at
            if w.items[number - 1].record == RECORD_MAPPING:
                find_record(w, number, RECORD_MAPPING, sizeof(mapping_t))
            else:
                find_record(w, number, RECORD_ANON_VMA, sizeof(anon_vma_t))
        else:
            edge(w, mappings + id, RECORD_MAPPING, sizeof(mapping_t))
            mappings[id] = <void *>(<uint64_t>mappings[id] << 1)


cdef void edges_of_mm_t(image_t *w, mm_t *mm) noexcept nogil:
    edge(w, &mm.m, RECORD_MACHINE, sizeof(machine_t))
    edge(w, &mm.next, RECORD_MM, sizeof(mm_t))
    edge(w, &mm.prev, RECORD_MM, sizeof(mm_t))
    edge(w, &mm.mmap, RECORD_VMA, sizeof(vma_t))
    edges_of_maple_t(w, &mm.vmas)


cdef void edges_of_maple_t(image_t *w, maple_t *mt) noexcept nogil:
    edge_part(w, &mt.blocks, RECORD_MAPLE_INDEX, mt.cap * sizeof(void *), mt.nr_blocks * sizeof(void *))
    edge_part(w, &mt.max_end, RECORD_BYTES, mt.cap * sizeof(uint64_t), mt.nr_blocks * sizeof(uint64_t))


cdef void edges_of_maple_index(image_t *w, maple_block_t **blocks, uint64_t n) noexcept nogil:
    cdef uint64_t i
    for i in range(n):
        edge(w, blocks + i, RECORD_MAPLE_BLOCK, sizeof(maple_block_t))


cdef void edges_of_maple_block_t(image_t *w, maple_block_t *block) noexcept nogil:
    cdef int i
    for i in range(64):
        if i < block.n:
            edge(w, &block.vma[i], RECORD_VMA, sizeof(vma_t))
        else:
            block.end[i] = 0
            block.vma[i] = NULL


cdef void edges_of_vma_t(image_t *w, vma_t *vma) noexcept nogil:
    edge(w, &vma.mm, RECORD_MM, sizeof(mm_t))
    edge(w, &vma.anon_vma, RECORD_ANON_VMA, sizeof(anon_vma_t))
    edge(w, &vma.chain, RECORD_AVC, sizeof(avc_t))
    edge(w, &vma.file, RECORD_MAPPING, sizeof(mapping_t))
    edge(w, &vma.next, RECORD_VMA, sizeof(vma_t))
    edge(w, &vma.prev, RECORD_VMA, sizeof(vma_t))
    edge(w, &vma.i_mmap_next, RECORD_VMA, sizeof(vma_t))
    edge(w, &vma.i_mmap_prev, RECORD_VMA, sizeof(vma_t))


cdef void edges_of_avc_t(image_t *w, avc_t *avc) noexcept nogil:
    edge(w, &avc.vma, RECORD_VMA, sizeof(vma_t))
    edge(w, &avc.anon_vma, RECORD_ANON_VMA, sizeof(anon_vma_t))
    edge(w, &avc.vma_next, RECORD_AVC, sizeof(avc_t))
    edge(w, &avc.av_next, RECORD_AVC, sizeof(avc_t))
    edge(w, &avc.av_prev, RECORD_AVC, sizeof(avc_t))


cdef void edges_of_anon_vma_t(image_t *w, anon_vma_t *anon_vma) noexcept nogil:
    edge(w, &anon_vma.root, RECORD_ANON_VMA, sizeof(anon_vma_t))
    edge(w, &anon_vma.parent, RECORD_ANON_VMA, sizeof(anon_vma_t))
    edge(w, &anon_vma.first, RECORD_AVC, sizeof(avc_t))


cdef void edges_of_mapping_t(image_t *w, mapping_t *mapping) noexcept nogil:
    edge(w, &mapping.pfns, RECORD_BYTES, mapping.cap * sizeof(uint32_t))
    edge(w, &mapping.blocks, RECORD_BLOCKS, mapping.cap * sizeof(block_t))
    edge(w, &mapping.i_mmap, RECORD_VMA, sizeof(vma_t))


cdef void edges_of_content_t(image_t *w, content_t *content) noexcept nogil:
    edge(w, &content.bytes, RECORD_BYTES, content.n * sizeof(byte_t))


cdef void edges_of_blocks(image_t *w, block_t *blocks, uint64_t n) noexcept nogil:
    cdef uint64_t i
    for i in range(n):
        edges_of_content_t(w, &blocks[i].content)


cdef void edges_of_slots(image_t *w, swap_slot_t *slots, uint64_t n) noexcept nogil:
    cdef uint64_t i
    for i in range(n):
        edges_of_content_t(w, &slots[i].content)


cdef void edges_of_store_t(image_t *w, store_t *store) noexcept nogil:
    edge(w, &store.slots, RECORD_ENTRIES, (<uint64_t>store.mask + 1) * sizeof(entry_t))


cdef void edges_of_entry_t(image_t *w, entry_t *entry) noexcept nogil:
    if entry.pfn == FS_NO_PFN:
        entry.n = entry.cap = entry.zero = 0
        entry.bytes = NULL
    edge_part(w, &entry.bytes, RECORD_BYTES, entry.cap * sizeof(byte_t), entry.n * sizeof(byte_t))


cdef void edges_of_entries(image_t *w, entry_t *entries, uint64_t n) noexcept nogil:
    cdef uint64_t i
    for i in range(n):
        edges_of_entry_t(w, entries + i)


cdef void edges_of(image_t *w, const item_t *item, void *at) noexcept nogil:
    cdef uint32_t record = item.record
    if record == RECORD_MACHINE:
        edges_of_machine_t(w, <machine_t *>at)
    elif record == RECORD_MM:
        edges_of_mm_t(w, <mm_t *>at)
    elif record == RECORD_VMA:
        edges_of_vma_t(w, <vma_t *>at)
    elif record == RECORD_AVC:
        edges_of_avc_t(w, <avc_t *>at)
    elif record == RECORD_ANON_VMA:
        edges_of_anon_vma_t(w, <anon_vma_t *>at)
    elif record == RECORD_MAPPING:
        edges_of_mapping_t(w, <mapping_t *>at)
    elif record == RECORD_MAPLE_INDEX:
        edges_of_maple_index(w, <maple_block_t **>at, item.used // sizeof(void *))
    elif record == RECORD_MAPLE_BLOCK:
        edges_of_maple_block_t(w, <maple_block_t *>at)
    elif record == RECORD_STORE:
        edges_of_store_t(w, <store_t *>at)
    elif record == RECORD_ENTRIES:
        edges_of_entries(w, <entry_t *>at, item.used // sizeof(entry_t))
    elif record == RECORD_BLOCKS:
        edges_of_blocks(w, <block_t *>at, item.used // sizeof(block_t))
    elif record == RECORD_SLOTS:
        edges_of_slots(w, <swap_slot_t *>at, item.used // sizeof(swap_slot_t))


# ---- freeze ----

cdef bint room(image_t *w, uint64_t more) noexcept nogil:
    cdef uint64_t cap = w.data_cap if w.data_cap else 1 << 16
    cdef uint8_t *grown
    while cap < w.size + more:
        cap *= 2
    if cap > w.data_cap:
        grown = <uint8_t *>realloc(w.data, cap)
        if grown == NULL:
            return False
        w.data, w.data_cap = grown, cap
    return True


cdef void leave_host_out(machine_t *m) noexcept nogil:
    """Fields that belong to this process, not to the machine's state."""
    m.phys = NULL
    m.pages = NULL
    m.heads = NULL
    m.held = NULL
    memset(&m.policy, 0, sizeof(m.policy))
    memset(&m.interrupt, 0, sizeof(m.interrupt))


cdef void freeze_items(image_t *w, int64_t start) noexcept nogil:
    """Copy items from number start on, and all that they lead to."""
    cdef int64_t at = start
    cdef item_t *item
    while at < w.nr and w.error == 0:
        item = w.items + at
        if not room(w, item.used + 8):
            w.error = -FS_EHOSTMEM
            return
        item.offset = w.size
        memset(w.data + w.size + item.used, 0, 8)
        memcpy(w.data + w.size, item.at, item.used)
        w.size += (item.used + 7) & ~7ULL
        if item.record == RECORD_MACHINE:
            leave_host_out(<machine_t *>(w.data + item.offset))
        edges_of(w, item, w.data + item.offset)
        at += 1


cdef int image_freeze(image_t *w, machine_t *m) noexcept nogil:
    cdef machine_t *copy
    cdef int64_t last
    memset(w, 0, sizeof(w[0]))
    if add_item(w, m, RECORD_MACHINE, sizeof(machine_t), sizeof(machine_t)):
        freeze_items(w, 0)
    if w.error == 0:  # last: by now all anon_vmas are known as such
        copy = <machine_t *>w.data
        last = w.nr
        edge_part(w, &copy.mappings, RECORD_MAPPINGS, m.mappings_cap * sizeof(void *), m.mappings_nr * sizeof(void *))
        if last < w.nr and freeze_mappings(w, last, m):
            freeze_items(w, last + 1)
    return w.error


cdef bint freeze_mappings(image_t *w, int64_t at, machine_t *m) noexcept nogil:
    cdef item_t *item = w.items + at
    if not room(w, item.used):
        w.error = -FS_EHOSTMEM
        return False
    item.offset = w.size
    memcpy(w.data + w.size, item.at, item.used)
    w.size += item.used
    edges_of_mappings(w, m, <void **>(w.data + item.offset))
    return w.error == 0


# ---- thaw ----

cdef void thaw_items(image_t *w, machine_t *m) noexcept nogil:
    """Allocate and fill all records but the machine's own, pointers not yet put in."""
    cdef int64_t i
    cdef item_t *item
    for i in range(1, w.nr):
        item = w.items + i
        item.checked = 0
        item.at = calloc(1, item.size if item.size else 1)
        if item.at == NULL:
            w.error = -FS_EHOSTMEM
            return
        memcpy(item.at, w.data + item.offset, item.used)


cdef bint sizes_fit(const image_t *w) noexcept nogil:
    cdef int64_t i
    cdef const item_t *item
    if w.nr == 0 or w.items[0].record != RECORD_MACHINE or w.items[0].used != sizeof(machine_t):
        return False
    for i in range(w.nr):
        item = w.items + i
        if item.used > item.size or item.offset > w.size or item.used > w.size - item.offset \
                or item.record >= NR_RECORDS or (i and item.record == RECORD_MACHINE):
            return False
    return True


cdef bint all_checked(const image_t *w) noexcept nogil:
    """Every record is pointed to, as what it is."""
    cdef int64_t i
    for i in range(1, w.nr):
        if not w.items[i].checked:
            return False
    return True


cdef int image_thaw(image_t *w, machine_t *m) noexcept nogil:
    cdef machine_t new
    cdef int64_t i
    w.thaw, w.error = True, 0
    if not sizes_fit(w):
        return -EINVAL
    memcpy(&new, w.data, sizeof(new))
    if new.nr_pages != m.nr_pages:
        return -EINVAL
    new.phys, new.pages, new.heads, new.held, new.policy = m.phys, m.pages, m.heads, m.held, m.policy
    new.interrupt = m.interrupt
    for i in range(w.nr):
        w.items[i].at = NULL
    w.items[0].at = m
    thaw_items(w, m)
    if w.error == 0:
        edges_of_machine_t(w, &new)
        edge(w, &new.mappings, RECORD_MAPPINGS, new.mappings_cap * sizeof(void *))
    if w.error == 0 and new.mappings_nr > new.mappings_cap:
        w.error = -EINVAL
    if w.error == 0 and new.mappings != NULL:
        edges_of_mappings(w, &new, new.mappings)
    for i in range(1, w.nr):
        if w.error == 0:
            edges_of(w, w.items + i, w.items[i].at)
    if w.error == 0 and not all_checked(w):
        w.error = -EINVAL
    if w.error:
        for i in range(1, w.nr):
            free(w.items[i].at)
        return w.error
    m[0] = new
    return 0


cdef void image_deinit(image_t *w) noexcept nogil:
    free(w.items)
    free(w.data)
    free(w.hash)
    memset(w, 0, sizeof(w[0]))
