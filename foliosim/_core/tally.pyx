# cython: language_level=3
"""Memory and names for validation, which gives way to signals and other threads now and then."""
from libc.stdlib cimport calloc, free
from foliosim._core.flags cimport *

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    void *PyEval_SaveThread()
    void PyEval_RestoreThread(void *thread)

cdef enum:
    RECORDS_BETWEEN_LOOKS = 1 << 20      # milliseconds of work

FRAME_KINDS = frozenset(("page", "folio", "table", "block"))
LRU_NAMES = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")


cdef int tally_init(tally_t *t, machine_t *m) noexcept nogil:
    """The arrays are as large as the memory ever used, but only touched where something is found."""
    t.m = m
    t.nr = <uint32_t>m.fresh_pfn
    t.nr_tables = 0
    t.left = RECORDS_BETWEEN_LOOKS
    t.ptes = <int32_t *>calloc(t.nr + 1, sizeof(int32_t))
    t.folios = <folio_tally_t *>calloc(t.nr + 1, sizeof(folio_tally_t))
    t.swaps = <int32_t *>calloc(m.swap.nr + 1, sizeof(int32_t))
    if t.ptes == NULL or t.folios == NULL or t.swaps == NULL:
        tally_deinit(t)
        return -FS_EHOSTMEM
    return 0


cdef void tally_deinit(tally_t *t) noexcept nogil:
    free(t.ptes)
    free(t.folios)
    free(t.swaps)
    t.swaps = NULL
    t.ptes = NULL
    t.folios = NULL


cdef int give_way(tally_t *t) except -1:
    t.left = RECORDS_BETWEEN_LOOKS
    PyEval_RestoreThread(PyEval_SaveThread())
    return PyErr_CheckSignals()


cdef str object_name(str kind, uint64_t number):
    if kind in FRAME_KINDS:
        return f"{kind} 0x{number:x}"
    if kind == "lru":
        return f"lru {LRU_NAMES[number]}"
    if kind == "mthp":
        return f"mthp {(FS_PAGE_SIZE >> 10) << number}kB"
    return f"{kind} {number}" if kind != "machine" else kind


cdef str address_name(const mm_t *mm, uint64_t addr):
    return f"mm {mm.pid} 0x{addr:x}"


cdef int compare(list out, str kind, uint64_t number, str field, int64_t counted, int64_t recomputed) except -1:
    if counted != recomputed:
        out.append((object_name(kind, number), field, counted, recomputed))
    return 0
