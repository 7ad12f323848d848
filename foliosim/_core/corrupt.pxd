# cython: language_level=3
"""Damage counts on purpose, to test that validation finds each of them."""
from libc.stdint cimport int64_t, uint64_t
from foliosim._core.types cimport *

# Add delta to a count of an object: kind and field as in CORRUPTIBLE.  number: pfn (page, folio: of the head, table),
# pid (mm), address (vma), mapping id (anon_vma, mapping), order (buddy, mthp), index (lru), else 0.
# Returns the (object, field) that validation should name.  Raises KeyError for an unknown kind or field, LookupError if
# there is no such object.
cdef tuple corrupt(machine_t *m, str kind, uint64_t number, str field, int64_t delta)
