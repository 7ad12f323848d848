# cython: language_level=3
"""Allocations that fail on purpose: the n-th one, or all from an order on."""


cdef bint should_fail(machine_t *m, int kind, int order) noexcept nogil:
    cdef fault_attr_t *fail = &m.fail
    fail.struck = False
    if not (fail.kinds >> kind) & 1 or (kind == FAIL_FOLIO and order < fail.min_order):
        return False
    fail.calls += 1
    if fail.calls < fail.nth or (fail.times >= 0 and fail.calls >= fail.nth + fail.times):
        return False
    fail.failed += 1
    fail.struck = True
    return True
