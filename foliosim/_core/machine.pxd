# cython: language_level=3
"""The border: the only module of the core that Python code imports."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from foliosim._core.frames cimport CoreFrames
from foliosim._core.types cimport *

cdef class CoreMachine(CoreFrames):
    cdef dict previous           # observe: words of the last observation
    cdef dict hooks              # policy point -> Hook, or a capsule
    cdef object hook_error       # first exception of a hook, or of a signal's handler, in this operation
    cdef bint in_hook
    cdef dict references         # live CoreReference objects, as keys in order of creation
    cdef readonly int64_t steps  # public operations performed
    cdef int64_t wake            # steps after which Machine.waken is called
    cdef int64_t syscalls
    cdef dict fails              # errno or signal -> how often a program saw it
    cdef object known            # pid -> CoreProcess, weakly
    cdef object opened           # inode -> CoreMapping, weakly
    cdef list put_later          # mapping_t of files that went in the middle of an operation
    cdef uint32_t reviving_process   # pid: the CoreProcess that is being made stands for what is there
    cdef uint32_t reviving_file      # mapping id: the same of a CoreFile
    cdef list kept               # files of a branch, which stay open until they are closed
    cdef int64_t next_reference  # number of the last CoreReference
    cdef object base             # the SharedFrames that this machine's memory was branched from; None
    cdef object __weakref__

    cdef int begin(self, uint64_t pages) except -1
    cdef int go_on(self, uint64_t pages) except -1
    cdef int64_t done(self, int64_t result) noexcept
    cdef int drain_now(self) except -1
    cdef int leave(self) except -1
    cdef int put_mappings(self) except -1
    cdef void keep_error(self, object error) noexcept
    cdef int wake_khugepaged(self) except -1
    cdef int refuse(self) except -1
    cdef int count_fail(self, object which) except -1
    cdef uint32_t pid_after(self, uint32_t pid) noexcept
    cdef mm_t *find_mm(self, uint32_t pid) noexcept

cdef class Hold:                 # a block of Python code that has the machine for itself
    cdef CoreMachine machine
    cdef bint busy
    cdef int entered             # times

cdef class CoreMapping:          # an open file
    cdef readonly CoreMachine machine
    cdef mapping_t *mapping      # NULL after close
    cdef public bint writable    # opened for writing too
    cdef object __weakref__

cdef class CoreProcess:
    cdef readonly CoreMachine machine
    cdef mm_t *mm                # NULL after exit
    cdef object __weakref__

    cdef mm_t *living(self) except NULL
    cdef mm_t *look(self) except NULL
    cdef mm_t *begin(self, uint64_t length) except NULL
    cdef int64_t done(self, int64_t result) noexcept
    cdef uint64_t span(self) except? 0
    cdef int64_t leave(self, int64_t result) except? -1
    cdef fail(self, int64_t result, str syscall, tuple args)
    cdef int64_t take(self, CoreReference reference, uint64_t addr, uint64_t length, uint64_t batch) except? -1
    cdef int destroy(self, bint killable) except -1

cdef class CoreReference:
    cdef readonly CoreMachine machine
    cdef readonly CoreProcess process
    cdef held_t held
    cdef bint locks              # the folio is locked too
    cdef readonly int64_t number  # in order of creation, from 1
    cdef readonly int64_t nbytes
    cdef readonly int64_t offset

    cdef int put(self) except -1
