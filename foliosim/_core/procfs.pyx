# cython: language_level=3
"""A second border, for reading only: facts that the text of /proc and /sys is made of (`foliosim.procfs`)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
import numpy as np
from foliosim._core.flags cimport *
from foliosim._core.page cimport *
from foliosim._core.kpage cimport get_kpage_count, stable_page_flags
from foliosim._core.machine cimport CoreMachine, CoreProcess, Hold
from foliosim._core.maple_tree cimport find_vma, vma_lookup
from foliosim._core.pgtable cimport *
from foliosim._core.task_mmu cimport NR_SMAPS, pagemap_pmd_range, show_smap_vma_flags, smaps_rollup, smaps_vma
from foliosim._core.turn cimport leave_turn
from foliosim._core.types cimport *


def frames(CoreMachine machine):
    """(frames of the machine, frames that were ever in use: those beyond are free)."""
    machine.look()
    return machine.m.nr_pages, machine.m.fresh_pfn


def kpageflags(CoreMachine machine, uint64_t first, uint64_t count):
    """Words of /proc/kpageflags, an array."""
    out = np.empty(count, dtype=np.uint64)
    cdef uint64_t[::1] to = out
    cdef uint64_t i
    machine.begin(count)
    for i in range(count):
        to[i] = stable_page_flags(&machine.m, first + i)
    leave_turn(&machine.turn)
    return out


def kpagecount(CoreMachine machine, uint64_t first, uint64_t count):
    """Words of /proc/kpagecount, an array."""
    out = np.empty(count, dtype=np.uint64)
    cdef uint64_t[::1] to = out
    cdef uint64_t i
    machine.begin(count)
    for i in range(count):
        to[i] = <uint64_t>get_kpage_count(&machine.m, first + i)
    leave_turn(&machine.turn)
    return out


def areas(CoreProcess process):
    """One tuple per VMA: start, end, vm_flags, VmFlags text, offset in bytes, inode, kind of file (0: none), smaps."""
    cdef machine_t *m = &process.machine.m
    cdef vma_t *vma
    cdef uint64_t fields[NR_SMAPS]
    cdef uint64_t offset, ino, end
    cdef uint32_t kind
    cdef char text[256]
    cdef int n
    out = []
    with Hold(process.machine):
        vma = process.look().mmap
        while vma != NULL:
            offset, ino, kind, end = 0, 0, 0, vma.end
            if vma.file != NULL:
                offset, ino, kind = vma.pgoff << FS_PAGE_SHIFT, vma.file.ino, vma.file.kind
            process.begin(vma.end - vma.start)
            smaps_vma(m, vma, fields)
            leave_turn(&process.machine.turn)
            n = show_smap_vma_flags(m, vma.flags, text)
            out.append((vma.start, vma.end, vma.flags, text[:n].decode(), offset, ino, kind,
                        [fields[i] for i in range(NR_SMAPS)]))
            vma = find_vma(process.look(), end)
    process.machine.settle()
    return out


cdef uint64_t next_mapped_pmd(machine_t *m, const vma_t *vma, uint64_t addr, uint64_t **pmd) noexcept nogil:
    """Address, from addr on, of the next PMD's span in the VMA that has anything; the VMA's end: none."""
    while addr < vma.end:
        pmd[0] = pmd_offset(m, vma.mm, addr)
        if pmd[0] != NULL and pmd[0][0]:
            return addr
        addr = pmd_addr_end(addr, vma.end) if pmd[0] != NULL else next_pmd_addr(m, vma.mm, addr, vma.end)
    return vma.end


def mapped_pages(CoreProcess process, uint64_t start):
    """Pages with an entry in the area that begins at `start`: (page relative to the start, pagemap word) arrays.

    Takes time and room for what is mapped, however large the area is.
    """
    cdef machine_t *m = &process.machine.m
    cdef vma_t *vma
    cdef uint64_t words[FS_PTRS_PER_PTE]
    cdef uint64_t addr, next
    cdef uint64_t *pmd = NULL
    pages, found = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    with Hold(process.machine):
        next = start
        while True:
            vma = vma_lookup(process.look(), start)
            if vma == NULL or vma.start != start:
                raise ValueError(f"{start:#x}: no area begins there")
            addr = next_mapped_pmd(m, vma, next, &pmd)
            if addr >= vma.end:
                break
            next = pmd_addr_end(addr, vma.end)
            pagemap_pmd_range(m, vma, pmd[0], addr, next, words)
            here = np.array(<uint64_t[:(next - addr) >> FS_PAGE_SHIFT]>words)
            at = np.nonzero(here)[0]
            pages.append(at + ((addr - start) >> FS_PAGE_SHIFT))
            found.append(here[at])
    process.machine.settle()
    return np.concatenate(pages), np.concatenate(found)


def rollup(CoreProcess process):
    """The sums of smaps_rollup, as `areas` has them, and Pss of anonymous memory, files and shmem."""
    cdef uint64_t fields[NR_SMAPS]
    cdef uint64_t pss[3]
    smaps_rollup(&process.machine.m, process.begin(process.span()), fields, pss)
    leave_turn(&process.machine.turn)
    process.machine.settle()
    return [fields[i] for i in range(NR_SMAPS)], (pss[0], pss[1], pss[2])


def thp_disable(CoreProcess process):
    """0; 1: huge pages are disabled completely; 2: except where advised."""
    return process.look().thp_disable


def memory_merge(CoreProcess process):
    """Is its memory offered to KSM?  As PR_GET_MEMORY_MERGE says."""
    return (process.look().def_flags & VM_MERGEABLE) != 0


cdef void count_folio(const page_t *folio, int64_t *mlocked, int64_t *anon_thps, int64_t *shmem_thps,
                      int64_t *shmem_pmdmapped) noexcept nogil:
    cdef int64_t nr = folio_nr_pages(folio)
    cdef bint entire = folio_order(folio) >= FS_HPAGE_PMD_ORDER and folio_entire_mapcount(<page_t *>folio) > 0
    if folio.flags & PG_mlocked:
        mlocked[0] += nr
    if folio.flags & PG_anon:
        anon_thps[0] += entire
    elif folio.flags & PG_swapbacked and folio_order(folio) >= FS_HPAGE_PMD_ORDER:
        shmem_thps[0] += 1
        shmem_pmdmapped[0] += entire


def folio_gauges(CoreMachine machine):
    """Gauges of /proc/vmstat that are counted here from the folios."""
    cdef machine_t *m = &machine.m
    cdef int64_t mlocked = 0, anon_thps = 0, shmem_thps = 0, shmem_pmdmapped = 0
    cdef uint64_t pfn = 0
    cdef page_t *page
    machine.begin(m.fresh_pfn)
    while pfn < m.fresh_pfn:
        page = page_of(m, <uint32_t>pfn)
        if page_kind(page) == PG_KIND_HEAD and page.refcount > 0:
            count_folio(page, &mlocked, &anon_thps, &shmem_thps, &shmem_pmdmapped)
        pfn += 1U << page_order(page) if page_kind(page) in (PG_KIND_HEAD, PG_KIND_BUDDY) else 1
    leave_turn(&machine.turn)
    return {"nr_mlock": mlocked, "nr_anon_transparent_hugepages": anon_thps, "nr_shmem_hugepages": shmem_thps,
            "nr_shmem_pmdmapped": shmem_pmdmapped}


def thp_settings(CoreMachine machine):
    """The transparent_hugepage settings as `set_thp` takes them, and use_zero_page."""
    cdef const thp_settings_t *thp = &machine.m.thp
    machine.look()
    return {"enabled": thp.enabled, "always": thp.always, "madvise": thp.madvise, "inherit": thp.inherit,
            "shmem_enabled": thp.shmem_enabled, "shmem_always": thp.shmem_always, "shmem_inherit": thp.shmem_inherit,
            "shmem_within_size": thp.shmem_within_size, "shmem_advise": thp.shmem_advise,
            "use_zero_page": thp.use_zero_page}
