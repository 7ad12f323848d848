# cython: language_level=3
"""Page tables as one outside the machine reads them: copies of frames, and walks in an image of physical memory."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.mman cimport MAP_NORESERVE
import numpy as np
from foliosim._core.arch.x86_64_walk cimport *
from foliosim._core.flags cimport *
from foliosim._core.machine cimport CoreMachine, CoreProcess, Hold
from foliosim._core.machine import WALK_DTYPE
from foliosim._core.pgtable cimport table_of
from foliosim._core.types cimport *
from foliosim._core.walk cimport walk, walk_batch, walk_mmu_init, walk_mmu_levels

NORESERVE = MAP_NORESERVE  # a flag that Python's mmap has no name for


def processor(CoreProcess process):
    """How the processor is set up for a process: the root's address, bits of an address and a physical one, flags."""
    cdef walk_mmu_t mmu
    walk_mmu_init(&mmu, &process.machine.m, process.look())
    return mmu.root, mmu.va_bits, mmu.pa_bits, mmu.flags


cdef uint64_t collect(const walk_mmu_t *mmu, uint64_t table, int level, uint64_t *out, uint64_t n) noexcept nogil:
    """Put the frames of a table and of those below it behind the n that are there; out NULL: only count them."""
    cdef const uint64_t *entries = <const uint64_t *>(mmu.phys + table)
    cdef uint64_t reserved = walk_reserved(mmu), at
    cdef uint32_t i
    if out != NULL:
        out[n] = table >> FS_PAGE_SHIFT
    n += 1
    if level == 0:
        return n
    for i in range(FS_PTRS_PER_PTE):
        if walk_entry(mmu, entries[i], level, reserved) == WALK_TABLE:
            at = walk_output(entries[i])
            if at + FS_PAGE_SIZE <= mmu.size:
                n = collect(mmu, at, level - 1, out, n)
    return n


def table_frames(CoreProcess process):
    """Frame numbers of all tables that a walk can reach."""
    cdef walk_mmu_t mmu
    cdef uint64_t[::1] to
    with Hold(process.machine, busy=True):
        walk_mmu_init(&mmu, &process.machine.m, process.living())
        out = np.empty(collect(&mmu, mmu.root, mmu.top_level, NULL, 0), dtype=np.uint64)
        to = out
        collect(&mmu, mmu.root, mmu.top_level, &to[0], 0)
    return out


def contents(CoreMachine machine, const uint64_t[::1] frames):
    """The entries in frames, an array of a row for each."""
    out = np.empty((frames.shape[0], FS_PTRS_PER_PTE), dtype=np.uint64)
    cdef uint64_t[:, ::1] to = out
    cdef Py_ssize_t i
    machine.look()
    for i in range(frames.shape[0]):
        memcpy(&to[i, 0], table_of(&machine.m, <uint32_t>frames[i]), FS_PAGE_SIZE)
    return out


def walk_image(uint8_t[::1] image, uint64_t root, uint64_t addr, uint32_t access, *, uint32_t flags,
               int maxphyaddr=0, int va_bits=48):
    """Walk tables in a copy of physical memory that begins at address 0.

    Returns (physical address, error, level, rights) as a record of `Process.walk`; ``flags`` are bits of the
    processor's state: on x86-64 0x100 EFER.NXE, 0x200 CR0.WP, 0x400 CR4.SMEP, 0x800 CR4.SMAP, 0x1000 EFLAGS.AC, on
    arm64 0x100 TCR.HA, 0x200 TCR.HD, 0x400 PSTATE.PAN, 0x800 SCTLR.WXN; and 0x2000 to set accessed and dirty bits in
    the image; ``access``: 2 write, 4 user, 0x10 fetch; ``maxphyaddr``: bits of a physical address, 0: all there are.
    """
    cdef walk_mmu_t mmu
    cdef walk_result_t result
    if image.shape[0] < <int64_t>FS_PAGE_SIZE:
        raise ValueError(f"image of {image.shape[0]} bytes: must hold at least one page")
    mmu.phys, mmu.size = &image[0], image.shape[0]
    mmu.root, mmu.flags, mmu.pa_bits, mmu.va_bits = root, flags, maxphyaddr or 52, va_bits
    walk_mmu_levels(&mmu)
    walk(&mmu, addr, access, &result)
    return result.pa, result.error, result.level, result.rights


def walk_in(uint8_t[::1] image, uint64_t root, addrs, uint32_t access, *, uint32_t flags, int pa_bits, int va_bits):
    """`walk_image` for an array of addresses; records of `Process.walk`."""
    cdef const uint64_t[::1] at = np.ascontiguousarray(addrs, dtype=np.uint64)
    cdef walk_mmu_t mmu
    out = np.zeros(at.shape[0], dtype=WALK_DTYPE)
    cdef uint8_t[::1] to = out.view(np.uint8)
    mmu.phys, mmu.size = &image[0], image.shape[0]
    mmu.root, mmu.flags, mmu.pa_bits, mmu.va_bits = root, flags, pa_bits, va_bits
    walk_mmu_levels(&mmu)
    if at.shape[0]:
        walk_batch(&mmu, &at[0], at.shape[0], access, <walk_result_t *>&to[0])
    return out
