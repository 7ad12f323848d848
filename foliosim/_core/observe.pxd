# cython: language_level=3
"""The state of processes as the recorded scenarios show it: Python objects in the shapes of their JSON."""
from libc.stdint cimport uint64_t
from foliosim._core.types cimport *

# One observation of [start, end) in n processes, names[i] being that of mms[i]:
#     {"procs": {name: {"vmas", "pages", "changed", "locked_kb", "pgtable_kb"}}, "frames": [...]}
# previous: an empty dict at first; belongs to this function, which keeps in it what "changed" is compared with.
# files: mapping id -> name of the files that have one; other mappings are "shmem".
# entries: show "entries" and "tables" of each process too.  Raises MemoryError.
cdef dict observe_state(machine_t *m, list names, mm_t **mms, int n, uint64_t start, uint64_t end, dict previous,
                        dict files, bint entries)
