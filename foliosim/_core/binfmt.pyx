# cython: language_level=3
"""A third border: what execve builds, area by area.  Follows fs/exec.c (setup_arg_pages), fs/binfmt_elf.c (set_brk,
elf_load) and arch/x86/entry/vdso/vma.c."""
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from foliosim._core.flags cimport *
from foliosim._core.brk cimport do_brk_flags, mm_set_brk
from foliosim._core.fault cimport ACCESS_TOUCH_WRITE, access_t, user_access
from foliosim._core.machine cimport CoreMapping, CoreProcess
from foliosim._core.maple_tree cimport vma_find, vma_lookup
from foliosim._core.mmap cimport do_munmap, ksys_mmap
from foliosim._core.types cimport *
from foliosim._core.vma cimport *


def map_stack(CoreProcess process, uint64_t addr, uint64_t length, uint64_t used, uint64_t limit):
    """The stack of a new program: [addr, addr + length), whose last `used` bytes hold arguments and environment.

    Those are written while the area cannot have huge pages.  limit: RLIMIT_STACK, bytes.
    """
    cdef mm_t *mm = process.begin(length)
    cdef machine_t *m = &process.machine.m
    cdef vma_t *vma
    cdef access_t a
    cdef int64_t result = ksys_mmap(m, mm, addr, length, FS_PROT_READ | FS_PROT_WRITE,
                                    FS_MAP_PRIVATE | FS_MAP_ANONYMOUS | FS_MAP_FIXED | FS_MAP_GROWSDOWN, NULL, True, 0)
    process.done(result)
    if process.leave(result) < 0:
        process.fail(result, "execve", (addr, length))
    mm = process.begin(used)
    mm.rlimit_stack = limit
    vma = vma_lookup(mm, addr)
    memset(&a, 0, sizeof(a))
    a.addr, a.end, a.stride, a.kind = addr + length - used, addr + length, FS_PAGE_SIZE, ACCESS_TOUCH_WRITE
    vma.flags |= VM_STACK_INCOMPLETE_SETUP
    result = user_access(m, mm, &a)
    vma.flags &= ~VM_STACK_INCOMPLETE_SETUP
    process.done(result)
    if process.leave(result) < 0:
        process.fail(result, "execve", (addr, length))


def map_bss(CoreProcess process, uint64_t addr, uint64_t length, bint executable):
    """Anonymous memory behind a program's data, as the kernel's loader makes it."""
    cdef mm_t *mm = process.begin(length)
    cdef machine_t *m = &process.machine.m
    cdef int64_t result = do_munmap(m, mm, addr, length)
    if result == 0:
        result = do_brk_flags(m, mm, NULL, addr, length, VM_EXEC if executable else 0)
    process.done(result)
    if process.leave(result) < 0:
        process.fail(result, "execve", (addr, length))


def set_brk(CoreProcess process, uint64_t start):
    """Where the heap starts; it is empty."""
    mm_set_brk(process.look(), start)


def map_special(CoreProcess process, uint64_t addr, uint64_t length, CoreMapping pages, bint code):
    """Pages of the kernel's own in a process: code that everybody may call (vdso), or data without folios (vvar).

    Follows: _install_special_mapping.
    """
    cdef mm_t *mm = process.look()
    cdef machine_t *m = &process.machine.m
    cdef uint64_t flags = VM_READ | VM_MAYREAD | VM_DONTEXPAND | mm.def_flags & ~(VM_LOCKED_MASK | VM_MERGEABLE)
    cdef vma_t *vma
    if vma_find(mm, addr, addr + length) != NULL:
        raise ValueError(f"{addr:#x}: something is mapped there")
    if code:
        flags |= VM_EXEC | VM_MAYWRITE | VM_MAYEXEC
    else:
        flags |= VM_IO | VM_DONTDUMP | VM_PFNMAP
    vma = vma_alloc(m, mm, addr, addr + length, 0, flags)
    if vma == NULL:
        raise MemoryError("execve: the host has no memory")
    vma.file = pages.mapping
    pages.mapping.refcount += 1
    if vma_link(m, mm, vma):
        remove_vma(m, vma)
        raise MemoryError("execve: the host has no memory")
    mm.total_vm += <int64_t>(length >> FS_PAGE_SHIFT)


def set_resident(CoreMapping file, bint special):
    """From now on every page of a file counts as read before; special: its pages are mapped one by one."""
    file.mapping.resident = True
    file.mapping.special = special


def place_next(CoreProcess process, uint64_t addr):
    """The next mmap or mremap that has to search a place finds this one."""
    process.look().next_area = addr
