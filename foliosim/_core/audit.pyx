# cython: language_level=3
"""A border for looking at all of a machine: what recordings keep of it, and every count that the page tables deny."""
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from foliosim._core.flags cimport FOLL_GET
from foliosim._core.machine cimport CoreMachine, CoreMapping, CoreProcess, CoreReference, Hold
from foliosim._core.numbers cimport u64
from foliosim._core.observe cimport observe_state
from foliosim._core.types cimport *
from foliosim._core.validate cimport validate_machine


def observe(CoreMachine machine, dict procs, start, end, dict files, bint entries):
    """The state of processes in [start, end) in the shapes of a recorded scenario; names of files as given."""
    cdef uint64_t first = u64(start, "start"), last = u64(end, "end")
    cdef mm_t **mms = <mm_t **>malloc((len(procs) + 1) * sizeof(mm_t *))
    cdef int n = 0
    cdef CoreProcess process
    cdef CoreMapping file
    cdef dict names = {}
    if mms == NULL:
        raise MemoryError("observe")
    try:
        with Hold(machine, busy=True):
            for process in procs.values():
                if process.machine is not machine:
                    raise ValueError(f"{process!r} belongs to another machine")
                mms[n] = process.living()
                n += 1
            for name, file in (files or {}).items():
                if file.machine is not machine:
                    raise ValueError(f"{file!r} belongs to another machine")
                if file.mapping != NULL:
                    names[file.mapping.id] = name
            return observe_state(&machine.m, list(procs), mms, n, first, last, machine.previous, names, entries)
    finally:
        free(mms)


def differences(CoreMachine machine):
    """Every count that is not what the page tables say: (object, field, counted, recomputed)."""
    gets, pins = {}, {}
    cdef CoreReference reference
    cdef int64_t i
    cdef dict where
    with Hold(machine, busy=True):
        for reference in machine.references:
            where = gets if reference.held.flags & FOLL_GET else pins
            for i in range(reference.held.nr):
                where[reference.held.pfns[i]] = where.get(reference.held.pfns[i], 0) + 1
        return validate_machine(&machine.m, gets, pins)
