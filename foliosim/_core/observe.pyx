# cython: language_level=3
"""Observations of whole processes, as the recorder of the scenarios makes them from /proc.

A walk over the tables gives pagemap words, which become runs at once; nothing is kept per page but a canonical number
for each frame met, in blocks of 512 by pfn.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.pgtable cimport *
from foliosim._core.maple_tree cimport find_vma
from foliosim._core.kpage cimport *
from foliosim._core.task_mmu cimport *
from foliosim._core.frame_ids cimport *
from foliosim._core.task_mmu import SMAPS_FIELDS

cdef struct page_run_t:     # pages with equal bits whose frames follow
    uint64_t addr
    uint32_t count
    uint32_t bits
    int32_t frame           # -1: none
    int32_t step

cdef struct seen_t:         # present pages whose physical frames follow
    uint64_t addr
    uint32_t count
    uint32_t pfn
    uint32_t step
    uint32_t unused

cdef struct entry_run_t:
    uint64_t addr, bits
    uint32_t count
    int32_t level

cdef struct list_t:         # a growing array of one of the above
    char *at
    int64_t nr, cap


# ---- arrays ----

cdef void *list_push(list_t *list, size_t size) noexcept nogil:
    """Room for one more item; NULL if the host has no memory."""
    cdef int64_t cap
    cdef char *at
    if list.nr == list.cap:
        cap = list.cap * 2 if list.cap else 64
        at = <char *>realloc(list.at, cap * size)
        if at == NULL:
            return NULL
        list.at = at
        list.cap = cap
    list.nr += 1
    return list.at + (list.nr - 1) * size


# ---- pages of one process ----

cdef inline int page_run_add(list_t *runs, uint64_t addr, uint32_t bits, int32_t frame) noexcept nogil:
    """A run takes step 0 if its second page has the frame of the first, else step 1."""
    cdef page_run_t *run
    cdef uint64_t next
    if runs.nr:
        run = <page_run_t *>runs.at + (runs.nr - 1)
        next = run.addr + (<uint64_t>run.count << FS_PAGE_SHIFT)
        if run.bits == bits and next == addr and (run.frame < 0) == (frame < 0):
            if frame == run.frame and run.count == 1:
                run.step = 0
            if frame < 0 or frame == run.frame + run.step * <int32_t>run.count:
                run.count += 1
                return 0
    run = <page_run_t *>list_push(runs, sizeof(page_run_t))
    if run == NULL:
        return -FS_EHOSTMEM
    run.addr = addr
    run.count = 1
    run.bits = bits
    run.frame = frame
    run.step = 1 if frame >= 0 else 0
    return 0


cdef inline int seen_add(list_t *seen, uint64_t addr, uint32_t pfn) noexcept nogil:
    cdef seen_t *run
    if seen.nr:
        run = <seen_t *>seen.at + (seen.nr - 1)
        if run.addr + (<uint64_t>run.count << FS_PAGE_SHIFT) == addr:
            if run.count == 1 and pfn == run.pfn:
                run.step = 0
            if pfn == run.pfn + run.step * run.count:
                run.count += 1
                return 0
    run = <seen_t *>list_push(seen, sizeof(seen_t))
    if run == NULL:
        return -FS_EHOSTMEM
    run.addr = addr
    run.count = 1
    run.pfn = pfn
    run.step = 1
    run.unused = 0
    return 0


cdef int add_words(frames_t *frames, list_t *runs, list_t *seen, uint64_t addr, uint64_t end,
                   const uint64_t *words) noexcept nogil:
    """pagemap words of [addr, end) to runs; -FS_EHOSTMEM on failure."""
    cdef uint64_t word
    cdef uint32_t i
    cdef int32_t frame
    for i in range((end - addr) >> FS_PAGE_SHIFT):
        word = words[i]
        if not word >> 55:
            continue
        frame = -1
        if word & PM_PRESENT:
            frame = frame_id(frames, <uint32_t>(word & PM_PFRAME_MASK))
            if frame < 0 or seen_add(seen, addr + (<uint64_t>i << FS_PAGE_SHIFT), <uint32_t>(word & PM_PFRAME_MASK)):
                return -FS_EHOSTMEM
        if page_run_add(runs, addr + (<uint64_t>i << FS_PAGE_SHIFT), <uint32_t>(word >> 55), frame):
            return -FS_EHOSTMEM
    return 0


cdef int walk_pages(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, frames_t *frames, list_t *runs,
                    list_t *seen) noexcept nogil:
    """Every page of the VMAs in [start, end); -FS_EHOSTMEM on failure."""
    cdef uint64_t words[FS_PTRS_PER_PTE]
    cdef vma_t *vma = find_vma(mm, start)
    cdef uint64_t addr, stop, next
    cdef uint64_t *pmd
    cdef bint holes
    while vma != NULL and vma.start < end:
        addr = vma.start if vma.start > start else start
        stop = vma.end if vma.end < end else end
        holes = m.soft_dirty and (vma.flags & VM_SOFTDIRTY) != 0
        while addr < stop:
            pmd = pmd_offset(m, mm, addr)
            if pmd == NULL and not holes:
                addr = next_pmd_addr(m, mm, addr, stop)
                continue
            next = pmd_addr_end(addr, stop)
            if pagemap_pmd_range(m, vma, pmd[0] if pmd != NULL else 0, addr, next, words):
                if add_words(frames, runs, seen, addr, next, words):
                    return -FS_EHOSTMEM
            addr = next
        vma = vma.next
    return 0


cdef object hexadecimal(uint64_t value):
    """What hex() gives, at a third of its cost."""
    cdef const char *digits = b"0123456789abcdef"
    cdef char text[18]
    cdef int at = 18
    while True:
        at -= 1
        text[at] = digits[value & 15]
        value >>= 4
        if not value:
            break
    text[at - 1] = 0x78     # "x"
    text[at - 2] = 0x30     # "0"
    return PyUnicode_DecodeASCII(text + at - 2, 20 - at, NULL)


cdef list page_runs(const list_t *runs):
    cdef const page_run_t *run = <const page_run_t *>runs.at
    cdef list out = []
    cdef int64_t i
    for i in range(runs.nr):
        out.append([hexadecimal(run[i].addr), run[i].count, hexadecimal(run[i].bits),
                    run[i].frame if run[i].frame >= 0 else None, run[i].step])
    return out


cdef inline void changed_add(list out, uint64_t addr, uint64_t count, uint64_t *first, uint64_t *end):
    """Collect runs; [first, end) is the one under way."""
    if end[0] != addr:
        if end[0] != first[0]:
            out.append([hexadecimal(first[0]), (end[0] - first[0]) >> FS_PAGE_SHIFT])
        first[0] = addr
    end[0] = addr + (count << FS_PAGE_SHIFT)


cdef void changed_overlap(list out, const seen_t *old, const seen_t *new, uint64_t low, uint64_t high, uint64_t *first,
                          uint64_t *end):
    """Compare frames in [low, high), which both runs cover."""
    cdef uint32_t was = old.pfn + old.step * <uint32_t>((low - old.addr) >> FS_PAGE_SHIFT)
    cdef uint32_t now = new.pfn + new.step * <uint32_t>((low - new.addr) >> FS_PAGE_SHIFT)
    cdef uint64_t i, n = (high - low) >> FS_PAGE_SHIFT
    if old.step == new.step:
        if was != now:
            changed_add(out, low, n, first, end)
        return
    for i in range(n):
        if was + old.step * <uint32_t>i != now + new.step * <uint32_t>i:
            changed_add(out, low + (i << FS_PAGE_SHIFT), 1, first, end)


cdef list changed_runs(bytes before, const list_t *seen):
    """Pages present then and now whose frame is another."""
    cdef const seen_t *old = <const seen_t *>PyBytes_AS_STRING(before)
    cdef const seen_t *old_end = old + PyBytes_GET_SIZE(before) // sizeof(seen_t)
    cdef const seen_t *new = <const seen_t *>seen.at
    cdef const seen_t *new_end = new + seen.nr
    cdef uint64_t first = 0, end = 0, low, high, old_high, new_high
    cdef list out = []
    while old < old_end and new < new_end:
        old_high = old.addr + (<uint64_t>old.count << FS_PAGE_SHIFT)
        new_high = new.addr + (<uint64_t>new.count << FS_PAGE_SHIFT)
        low = old.addr if old.addr > new.addr else new.addr
        high = old_high if old_high < new_high else new_high
        if low < high:
            changed_overlap(out, old, new, low, high, &first, &end)
        if old_high <= new_high:
            old += 1
        if new_high <= old_high:
            new += 1
    if end != first:
        out.append([hexadecimal(first), (end - first) >> FS_PAGE_SHIFT])
    return out


# ---- areas ----

cdef dict vma_smaps(machine_t *m, vma_t *vma, bint referenced):
    """Fields that are not zero, and not the same for every area."""
    cdef uint64_t values[NR_SMAPS]
    cdef dict out = {}
    cdef int i
    smaps_vma(m, vma, values)
    for i in range(SMAPS_RSS, NR_SMAPS):
        if values[i] and (i != SMAPS_REFERENCED or referenced):
            out[SMAPS_FIELDS[i]] = values[i]
    return out


cdef list vma_flag_names(const machine_t *m, uint64_t flags, dict known):
    cdef char text[192]
    cdef int length
    names = known.get(flags)
    if names is None:
        length = show_smap_vma_flags(m, flags, text)
        names = known[flags] = text[:length].decode("ascii").split()
    return list(names)


cdef object vma_permissions(uint64_t flags):
    cdef char text[4]
    text[0] = b"r" if flags & VM_READ else b"-"
    text[1] = b"w" if flags & VM_WRITE else b"-"
    text[2] = b"x" if flags & VM_EXEC else b"-"
    text[3] = b"s" if flags & VM_MAYSHARE else b"p"
    return text[:4].decode("ascii")


cdef list areas(machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, dict files, bint referenced, dict known):
    cdef vma_t *vma = find_vma(mm, start)
    cdef list out = []
    cdef dict area
    while vma != NULL and vma.start < end:
        area = {"start": hexadecimal(vma.start), "end": hexadecimal(vma.end), "perms": vma_permissions(vma.flags)}
        if vma.file != NULL:
            area["file"] = files.get(vma.file.id, "shmem")
            area["offset"] = vma.pgoff << FS_PAGE_SHIFT
        area["smaps"] = vma_smaps(m, vma, referenced)
        area["flags"] = vma_flag_names(m, vma.flags, known)
        out.append(area)
        vma = vma.next
    return out


# ---- entries and tables ----

cdef int entry_run_add(list_t *runs, uint64_t addr, int level, uint64_t bits) noexcept nogil:
    cdef entry_run_t *run
    if runs.nr:
        run = <entry_run_t *>runs.at + (runs.nr - 1)
        if run.level == level and run.bits == bits:
            if run.addr + (<uint64_t>run.count << (FS_PAGE_SHIFT if level == 1 else FS_PMD_SHIFT)) == addr:
                run.count += 1
                return 0
    run = <entry_run_t *>list_push(runs, sizeof(entry_run_t))
    if run == NULL:
        return -FS_EHOSTMEM
    run.addr = addr
    run.bits = bits
    run.count = 1
    run.level = level
    return 0


cdef inline uint64_t entry_bits(const machine_t *m, uint64_t e, int level) noexcept nogil:
    """The entry without its address; markers whole."""
    if not pte_present(m, e):
        return e
    return pte_bits(m, e) if level == 1 else pmd_bits(m, e)


cdef int walk_entries(const machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, list_t *runs) noexcept nogil:
    """Every leaf entry of [start, end) that is not zero; -FS_EHOSTMEM on failure."""
    cdef uint64_t addr = start, i
    cdef uint64_t *pmd
    cdef uint64_t *pte
    while addr < end:
        pmd = pmd_offset(m, mm, addr)
        if pmd == NULL:
            addr = next_pmd_addr(m, mm, addr, end)
            continue
        if pmd[0] and pmd_leaf(m, pmd[0]):
            if entry_run_add(runs, addr, 2, entry_bits(m, pmd[0], 2)):
                return -FS_EHOSTMEM
        elif pmd[0]:
            pte = table_of(m, table_pfn(m, pmd[0]))
            for i in range(FS_PTRS_PER_PTE):
                if pte[i] and entry_run_add(runs, addr + (i << FS_PAGE_SHIFT), 1, entry_bits(m, pte[i], 1)):
                    return -FS_EHOSTMEM
        addr = pmd_addr_end(addr, end)
    return 0


cdef void count_tables(const machine_t *m, uint32_t table, int level, uint64_t base, uint64_t start, uint64_t end,
                       int64_t *nr) noexcept nogil:
    """nr[level]: tables below this one that translate addresses of [start, end)."""
    cdef const uint64_t *entry = table_of(m, table)
    cdef uint64_t i, low
    for i in range(FS_PTRS_PER_PTE):
        low = base + (i << level_shift(level))
        if low >= end or low + level_size(level) <= start or not pmd_table(m, entry[i]):
            continue
        nr[level - 1] += 1
        if level > 1:
            count_tables(m, table_pfn(m, entry[i]), level - 1, low, start, end, nr)


cdef int add_entries(const machine_t *m, const mm_t *mm, uint64_t start, uint64_t end, dict proc) except -1:
    cdef list_t runs
    cdef const entry_run_t *run
    cdef int64_t nr[4]
    cdef int64_t i
    cdef list out = []
    memset(&runs, 0, sizeof(runs))
    try:
        if walk_entries(m, mm, start, end, &runs):
            raise MemoryError("observe: the host has no memory")
        run = <const entry_run_t *>runs.at
        for i in range(runs.nr):
            out.append([hexadecimal(run[i].addr), run[i].level, run[i].count, hexadecimal(run[i].bits)])
    finally:
        free(runs.at)
    memset(nr, 0, sizeof(nr))
    count_tables(m, mm.pgd, m.top_level, 0, start, end, nr)
    proc["entries"] = out
    proc["tables"] = {"pte": nr[0], "pmd": nr[1], "pud": nr[2]}
    return 0


# ---- the whole ----

cdef list frame_runs(machine_t *m, const frames_t *frames):
    """Flags and mapcounts of all frames met; a folio's flags are worked out once."""
    cdef int32_t i, first = 0, mapcount = 0, count = 0
    cdef uint32_t pfn, head = 0, end = 0
    cdef uint64_t folio_flags = 0, flags = 0, current = 0
    cdef list out = []
    for i in range(frames.nr):
        pfn = frames.pfns[i]
        if pfn < head or pfn >= end:
            head = head_of(m, pfn)
            end = head + folio_nr_pages(page_of(m, head))
            folio_flags = folio_kpageflags(m, head)
        flags = kpage_recorded(kpage_compound(m, head, pfn, folio_flags))
        count = page_precise_mapcount(m, pfn)
        if i and (flags != current or count != mapcount):
            out.append([first, i - first, hexadecimal(current), mapcount])
            first = i
        current = flags
        mapcount = count
    if frames.nr:
        out.append([first, frames.nr - first, hexadecimal(current), mapcount])
    return out


cdef dict observe_pages(machine_t *m, name, const mm_t *mm, uint64_t start, uint64_t end, frames_t *frames,
                        dict previous):
    """"pages" and "changed" of one process."""
    cdef list_t runs, seen
    memset(&runs, 0, sizeof(runs))
    memset(&seen, 0, sizeof(seen))
    try:
        if walk_pages(m, mm, start, end, frames, &runs, &seen):
            raise MemoryError("observe: the host has no memory")
        before = previous.get(name, b"")
        previous[name] = PyBytes_FromStringAndSize(seen.at, seen.nr * sizeof(seen_t))
        return {"pages": page_runs(&runs), "changed": changed_runs(before, &seen)}
    finally:
        free(runs.at)
        free(seen.at)


cdef dict observe_state(machine_t *m, list names, mm_t **mms, int n, uint64_t start, uint64_t end, dict previous,
                        dict files, bint entries):
    """"Referenced" of other processes than p0 depends on the hardware and is not shown."""
    cdef frames_t frames
    cdef dict procs = {}, proc, known = {}
    cdef const mm_t *mm
    cdef int i
    frames_init(&frames)
    for name in [name for name in previous if name not in names]:
        del previous[name]
    try:
        for i in range(n):
            mm = mms[i]
            proc = {"vmas": areas(m, mm, start, end, files, names[i] == "p0", known)}
            proc.update(observe_pages(m, names[i], mm, start, end, &frames, previous))
            proc["locked_kb"] = mm.locked_vm << (FS_PAGE_SHIFT - 10)
            proc["pgtable_kb"] = (mm.nr_ptes + mm.nr_pmds + mm.nr_puds) << (FS_PAGE_SHIFT - 10)
            if entries:
                add_entries(m, mm, start, end, proc)
            procs[names[i]] = proc
        return {"procs": procs, "frames": frame_runs(m, &frames)}
    finally:
        frames_deinit(&frames)
