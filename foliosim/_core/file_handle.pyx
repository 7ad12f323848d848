# cython: language_level=3
"""The border for files: what Python can do with an open file of a machine."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from foliosim.errors import UnsupportedError, syscall_error
from foliosim._core.flags cimport *
from foliosim._core.file_ops cimport *
from foliosim._core.machine cimport CoreMachine, CoreMapping, Hold
from foliosim._core.mapping cimport mapping_alloc, mapping_put
from foliosim._core.numbers cimport i64, u64
from foliosim._core.turn cimport *
from foliosim._core.types cimport *

DEVICE = "device"
KINDS = {"memfd": MAPPING_MEMFD, "tmpfs": MAPPING_TMPFS, "disk": MAPPING_DISK}


cdef class CoreFile(CoreMapping):
    """An open file; the machine that it belongs to keeps its pages as long as it is open or mapped."""

    def __cinit__(self, CoreMachine machine not None, str kind not None, length=0, fill=None, *_,
                  uint32_t first_pfn=0, **__):
        """A new file, or a device whose memory begins at a frame; the open file of a page cache that nothing in Python
        stands for yet, if it is revived."""
        cdef uint64_t size = u64(length, "length")
        cdef bint filled = fill is not None
        cdef bint device = kind == DEVICE
        cdef uint8_t first = i64(fill, "fill") & 0xff if filled else 0
        cdef uint32_t number = 0
        cdef int result = 0
        self.machine = machine
        self.writable = True
        machine.look()
        if machine.reviving_file:
            self.mapping = <mapping_t *>machine.m.mappings[machine.reviving_file]
            machine.reviving_file = 0
            machine.opened[self.mapping.ino] = self
            return
        if device and machine.m.soft_dirty:
            raise UnsupportedError("create_device: soft-dirty of device memory is not emulated")
        if not device:
            number = KINDS[kind]
        machine.begin(size >> FS_PAGE_SHIFT)
        if device:
            self.mapping = mapping_alloc(&machine.m, MAPPING_DEVICE, size)
            result = 0 if self.mapping != NULL else -FS_EHOSTMEM
        else:
            result = file_create(&machine.m, &self.mapping, number, size, filled, first)
        machine.done(0)
        self.leave(result, "create_file", (kind, length))
        self.mapping.first_pfn = first_pfn
        machine.opened[self.mapping.ino] = self

    cdef mapping_t *look(self) except NULL:
        """See `CoreMachine.look`."""
        self.machine.look()
        if self.mapping == NULL:
            raise ValueError("the file is closed")
        return self.mapping

    cdef mapping_t *begin(self) except NULL:
        """An operation that may be on all of it; see `CoreMachine.begin`."""
        cdef turn_t *turn = &self.machine.turn
        enter_turn(turn, self.look().nrpages)
        if self.mapping == NULL:
            leave_turn(turn)
            raise ValueError("the file is closed")
        run_turn(turn)
        return self.mapping

    cdef int leave(self, int64_t result, str syscall, tuple args) except -1:
        self.machine.leave()
        if result == -FS_EHOSTMEM:
            raise MemoryError(f"{syscall}{args}: the host has no memory")
        if result < 0:
            self.machine.count_fail(<int>-result)
            raise syscall_error(result, syscall, args)
        return 0

    def sys_ftruncate(self, length):
        cdef int64_t size = i64(length, "length")
        cdef mapping_t *mapping = self.begin()
        cdef int64_t result = self.machine.done(do_truncate(&self.machine.m, mapping, size))
        self.leave(result, "ftruncate", (length,))

    def sys_punch(self, offset, length):
        cdef int64_t start = i64(offset, "offset"), size = i64(length, "length")
        cdef mapping_t *mapping = self.begin()
        cdef int64_t result = self.machine.done(do_punch_hole(&self.machine.m, mapping, start, size))
        self.leave(result, "fallocate", (offset, length))

    def drop(self):
        """Close it; nothing if that was done."""
        cdef mapping_t *mapping
        with Hold(self.machine):
            mapping = self.mapping
            if mapping == NULL:
                return
            self.machine.opened.pop(mapping.ino, None)
            self.mapping = NULL
            self.machine.begin(mapping.nrpages)
            mapping_put(&self.machine.m, mapping)
            self.machine.done(0)
        self.machine.leave()

    @property
    def length(self):
        """Bytes."""
        return self.look().size

    @property
    def physical(self):
        """Where a device's memory begins, a physical address; None: it is no device."""
        cdef mapping_t *mapping = self.look()
        return (<uint64_t>mapping.first_pfn << FS_PAGE_SHIFT) if mapping.kind == MAPPING_DEVICE else None

    @property
    def inode(self):
        """Number of the file, as `Process.maps` shows it."""
        return self.look().ino

    @property
    def cached_pages(self):
        """Pages in its page cache."""
        return self.look().nrpages
