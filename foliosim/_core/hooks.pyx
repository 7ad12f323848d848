# cython: language_level=3
"""Policy slots that call Python.  A hook's exception is kept on the machine; meanwhile the default answers."""
from foliosim._core.types cimport *
from foliosim._core.machine cimport CoreMachine
from foliosim._core.policy cimport policy_slot

ANSWERS = {
    "vma_split": {"keep": VMA_SPLIT_KEEP, "split_try": VMA_SPLIT_TRY, "split_try_defer": VMA_SPLIT_TRY_DEFER,
                  "defer_always": VMA_SPLIT_DEFER_ALWAYS, "split_nonuniform": VMA_SPLIT_NONUNIFORM},
    "mlock_rule": {False: MLOCK_NO, True: MLOCK_YES, "split": MLOCK_SPLIT},
    "cow_order": {"order0": COW_ORDER0, "inherit": COW_INHERIT},
    "pin_short": {"no_split": PIN_NO_SPLIT, "split": PIN_SPLIT},
    "pin_long": {"no_split": PIN_NO_SPLIT, "split": PIN_SPLIT},
}
EVENTS = {MLOCK_AT_SYSCALL: "mlock", MLOCK_AT_RMAP_ADD: "map", MLOCK_AT_RMAP_REMOVE: "unmap",
          MLOCK_AT_MUNLOCK: "munlock"}


cdef int ask(void *ctx, str point, tuple args, int default) noexcept:
    """Call the hook and translate its answer."""
    cdef CoreMachine machine = <CoreMachine>ctx
    if machine.in_hook:
        return default
    machine.in_hook = True
    try:
        answer = machine.hooks[point](*args)
        try:
            return ANSWERS[point][answer]
        except (KeyError, TypeError):
            raise ValueError(f"policy {point}: answer {answer!r}, valid are {list(ANSWERS[point])}") from None
    except BaseException as error:
        if machine.hook_error is None:
            machine.hook_error = error
        return default
    finally:
        machine.in_hook = False


cdef int hook_vma_split(void *ctx, int order, int page, bint shared) noexcept with gil:
    return ask(ctx, "vma_split", (order, page, bool(shared)), VMA_SPLIT_KEEP)


cdef int hook_mlock_rule(void *ctx, int event, int order, int nr_mapped, bint pmd, bint within) noexcept with gil:
    cdef int default = MLOCK_YES
    if event == MLOCK_AT_SYSCALL or event == MLOCK_AT_RMAP_ADD:
        default = MLOCK_YES if pmd or (within and nr_mapped == 1 << order) else MLOCK_NO
    return ask(ctx, "mlock_rule", (EVENTS[event], order, nr_mapped, bool(pmd), bool(within)), default)


cdef int hook_cow_order(void *ctx, int order, bint pmd) noexcept with gil:
    return ask(ctx, "cow_order", (order, bool(pmd)), COW_ORDER0)


cdef int hook_pin_short(void *ctx, int order, int nr_pages) noexcept with gil:
    return ask(ctx, "pin_short", (order, nr_pages), PIN_NO_SPLIT)


cdef int hook_pin_long(void *ctx, int order, int nr_pages) noexcept with gil:
    return ask(ctx, "pin_long", (order, nr_pages), PIN_NO_SPLIT)


cdef dict TRAMPOLINES = {
    "vma_split": <size_t>&hook_vma_split, "mlock_rule": <size_t>&hook_mlock_rule, "cow_order": <size_t>&hook_cow_order,
    "pin_short": <size_t>&hook_pin_short, "pin_long": <size_t>&hook_pin_long,
}


cdef int install_hook(policy_t *policy, str point) except -1:
    policy_slot(policy, point)[0] = <void *><size_t>TRAMPOLINES[point]
    return 0
