# cython: language_level=3
"""A border for long series of accesses: many addresses of many processes in one call."""
from libc.errno cimport EINTR, ENOMEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from foliosim._core.fault cimport ACCESS_TOUCH_READ, ACCESS_WRITE, access_t, user_access
from foliosim._core.flags cimport FS_EHOSTMEM, FS_PAGE_SIZE
from foliosim._core.interrupt cimport fatal_signal_pending
from foliosim._core.machine cimport CoreMachine, CoreProcess, Hold
from foliosim._core.types cimport *

cdef enum:
    DONE = 0
    NOBODY = 1               # no process
    REFUSED = 2              # SIGSEGV
    BEYOND = 3               # SIGBUS


cdef int touch_one(machine_t *m, mm_t *mm, uint64_t addr, bint write) noexcept nogil:
    """A load, or a store of 1 to the first byte of the page: so a page that nobody wrote to can be told."""
    cdef access_t a
    cdef int result
    if mm == NULL:
        return NOBODY
    memset(&a, 0, sizeof(a))
    addr &= ~(FS_PAGE_SIZE - 1)
    a.addr, a.end, a.stride, a.value = addr, addr + 1, 1, 1
    a.kind = ACCESS_WRITE if write else ACCESS_TOUCH_READ
    result = user_access(m, mm, &a)
    if result < 0:
        return result
    return DONE if a.signal == 0 else BEYOND if a.signal == 7 else REFUSED


cdef struct series_t:        # arrays as `AccessSeries.run` gets them
    const int32_t *who
    const uint64_t *addrs
    const uint8_t *writes
    int64_t *faults
    int64_t *found
    uint8_t *outcome
    int64_t n, i             # accesses, the one that is made now
    int64_t done             # that raised nothing


cdef int touch_all(machine_t *m, mm_t **mms, series_t *s) noexcept nogil:
    cdef int64_t before
    cdef int result = 0
    for s.i in range(s.n):
        if fatal_signal_pending(m):
            return -EINTR
        before = m.vmstat[<int>PGFAULT]
        result = touch_one(m, mms[s.who[s.i]], s.addrs[s.i], s.writes[s.i] & 1)
        if result < 0:
            return result
        s.outcome[s.i] = <uint8_t>result
        before = m.vmstat[<int>PGFAULT] - before
        s.faults[s.who[s.i]] += before
        s.found[s.who[s.i]] += result == DONE and not before
        s.done += result == DONE
    return 0


cdef class AccessSeries:
    """Series of accesses by the processes of a machine; each stands for a number below `size`."""

    cdef readonly CoreMachine machine
    cdef dict live               # number -> CoreProcess
    cdef mm_t **mms
    cdef int64_t size

    def __cinit__(self, CoreMachine machine, int64_t size):
        self.machine = machine
        self.live = {}
        self.size = size
        self.mms = <mm_t **>calloc(size + 1, sizeof(mm_t *))
        if self.mms == NULL:
            raise MemoryError("AccessSeries")

    def __dealloc__(self):
        free(self.mms)

    def __reduce__(self):
        return _series, (self.machine, self.size, self.live)

    def set(self, int64_t number, CoreProcess process=None):
        """From now on `number` stands for this process, or for nobody."""
        if not 0 <= number < self.size:
            raise IndexError(number)
        if process is None:
            self.live.pop(number, None)
            self.mms[number] = NULL
        else:
            self.live[number] = process

    @property
    def pgfault(self):
        """Page faults that the machine has counted."""
        return self.machine.m.vmstat[<int>PGFAULT]

    def run(self, const int32_t[::1] who, const uint64_t[::1] addrs, const uint8_t[::1] writes, int64_t[::1] faults,
            int64_t[::1] found, uint8_t[::1] outcome):
        """Access the page of addrs[i] as process who[i], one after the other, for all i.  A store writes a 1.

        Parameters
        ----------
        who : array of int32
            Numbers of processes.
        addrs : array of uint64
        writes : array of uint8
            Bit 0: a store.
        faults : array of int64
            Changed: one element per number, page faults that it took are added.
        found : array of int64
            Likewise, accesses that found the page mapped as they wanted it.
        outcome : array of uint8
            Filled in: 0: the access was made; 1: no process; 2: SIGSEGV; 3: SIGBUS.

        Returns
        -------
        int
            Accesses that raised nothing.

        Raises
        ------
        MemoryError
            The machine, or the host, has no memory left; the accesses before were made.
        """
        cdef series_t s
        cdef int result
        cdef CoreProcess process
        s.n, s.done = addrs.shape[0], 0
        if s.n == 0:
            return 0
        s.who, s.addrs, s.writes = &who[0], &addrs[0], &writes[0]
        s.faults, s.found, s.outcome = &faults[0], &found[0], &outcome[0]
        with Hold(self.machine):
            for number, process in self.live.items():
                self.mms[<int64_t>number] = process.mm
            self.machine.begin(<uint64_t>s.n)
            result = touch_all(&self.machine.m, self.mms, &s)
            self.machine.done(0)
        self.machine.leave()
        if result == -FS_EHOSTMEM:
            raise MemoryError("the host has no memory")
        if result == -ENOMEM:
            raise MemoryError(f"the machine has no memory left for access {s.i + 1} of {s.n}")
        return s.done


def _series(machine, size, live):
    """A copy of a series, for a copy of its machine."""
    series = AccessSeries(machine, size)
    for number, process in live.items():
        series.set(number, process)
    return series
