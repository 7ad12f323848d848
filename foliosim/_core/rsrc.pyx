# cython: language_level=3
"""Registered buffers: pins, and what they count against RLIMIT_MEMLOCK.  Follows io_uring/rsrc.c.

Where a buffer's folios are alike the kernel keeps one pin of each (io_coalesce_buffer); here every page keeps its own,
so that the truth about pins is known.  What is charged does not depend on it.
"""
from cython cimport no_gc_clear
from libc.errno cimport EBUSY, EFAULT, EINVAL, ENOMEM, ENXIO, EOVERFLOW
from libc.stdint cimport uint64_t
from foliosim._core.flags cimport *
from foliosim._core.numbers cimport i64, u64
from foliosim._core.page cimport *
from foliosim._core.policy cimport *
from foliosim._core.turn cimport leave_turn
from foliosim._core.types cimport *

cdef enum:
    MAX_REG_BUFFERS = 1 << 14
    MAX_LENGTH = 1 << 30
    BATCH = 1 << 20

FOLL = FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE


@no_gc_clear
cdef class CoreBuffer(CoreReference):
    """One registered buffer."""

    @property
    def charged(self):
        """Bytes charged for this buffer alone."""
        return self.acct_pages << FS_PAGE_SHIFT

    def __repr__(self):
        return f"<CoreBuffer {self.nbytes} bytes, {self.charged} charged>"

    def drop(self):
        """A buffer goes with its slot."""
        raise TypeError("a registered buffer is no reference to release: unregister it with its ring")

    cdef int put(self) except -1:
        cdef int64_t pages = self.acct_pages
        if self.ring is None:    # of a copy that is not complete
            return CoreReference.put(self)
        for head in self.shared or ():
            holders = self.ring.shared[head]
            holders[0] -= 1
            if not holders[0]:
                pages += holders[1]
                del self.ring.shared[head]
        self.ring.charge(-pages)
        self.acct_pages, self.shared = 0, None
        return CoreReference.put(self)


cdef tuple words(span):
    """An (address, length) as two words of the machine; (0, 0) for no buffer."""
    if span is None:
        return 0, 0
    try:
        addr, length = span
    except (TypeError, ValueError):
        raise TypeError(f"buffer {span!r}: must be (address, length), or None") from None
    return u64(addr, "address"), u64(length, "length")


@no_gc_clear
cdef class CoreBuffers:
    """The table of registered buffers of one ring."""

    def __cinit__(self, CoreMachine machine not None, CoreProcess process not None, *_, memlock=None, **__):
        cdef int64_t limit = -1 if memlock is None else <int64_t>(u64(memlock, "memlock") >> FS_PAGE_SHIFT)
        if process.machine is not machine:
            raise ValueError(f"{process!r}: of another machine")
        self.process = process
        self.nodes = []
        self.shared = {}
        self.limit = limit

    cdef int charge(self, int64_t pages) except -1:
        """Follows io_account_mem and io_unaccount_mem; the limit was looked at before."""
        if self.limit >= 0:
            self.process.machine.m.user_locked_vm += pages
        self.process.mm.pinned_vm += pages
        return 0

    cdef int64_t account(self, CoreBuffer buffer) except? -1:
        """Follows io_buffer_account_pin: 0, or -ENOMEM and nothing is charged."""
        cdef machine_t *m = &self.process.machine.m
        cdef int64_t i = 0, n, own = 0, total
        cdef uint32_t pfn, head
        cdef int order, answer
        cdef bint again, known
        cdef set shared = set()
        cdef CoreBuffer node
        buffer.folios = set()
        while i < buffer.held.nr:
            pfn = buffer.held.pfns[i]
            head, order, n = head_of(m, pfn), folio_order(folio_of(m, pfn)), 1
            while i + n < buffer.held.nr and order and head_of(m, buffer.held.pfns[i + n]) == head:
                n += 1
            again = head in buffer.folios
            known = again or head == self.last
            for node in self.nodes:
                known = known or (node is not None and head in node.folios)
            answer = ask_pin_account(m, order, <int>n, again, known)
            if answer == PIN_ACCOUNT_SHARED:
                shared.add((head, 1 << order))
            elif answer:
                own += n if answer == PIN_ACCOUNT_PAGES else 1 << order
            if order:
                buffer.folios.add(head)
                self.last = head
            i += n
        total = own + sum([pages for head, pages in shared if head not in self.shared])
        if total and self.limit >= 0 and m.user_locked_vm + total > self.limit:
            return -ENOMEM
        for head, pages in shared:
            self.shared.setdefault(head, [0, pages])[0] += 1
        buffer.shared = {head for head, pages in shared}
        buffer.acct_pages = own
        self.charge(total)
        return 0

    cdef int64_t make(self, CoreBuffer buffer, span) except? -1:
        """Follows io_sqe_buffer_register: pin and charge; 0 or an errno."""
        cdef CoreMachine machine = self.process.machine
        cdef uint64_t addr = span[0], length = span[1]
        cdef int64_t result
        if not addr or not length or length > MAX_LENGTH:
            return -EFAULT
        if addr + ((length + FS_PAGE_SIZE - 1) & ~(FS_PAGE_SIZE - 1)) < addr:
            return -EOVERFLOW
        buffer.ring = self  # take() puts back what it could pin if it could not pin all
        result = self.process.take(buffer, addr, length, BATCH)
        if result < 0:
            return result
        machine.go_on(0)         # a hook that it asks may not call back
        try:
            result = self.account(buffer)
        finally:
            leave_turn(&machine.turn)
        if result == 0 and (machine.hook_error is not None or machine.m.refused_point):
            result = -EINVAL     # leave() raises what the hook raised
        if result < 0:
            buffer.put()
        return result

    cdef int forget(self, list nodes) except -1:
        cdef CoreBuffer node
        for node in nodes:
            if node is not None and node in self.process.machine.references:
                node.put()
        return 0

    def io_sqe_buffers_register(self, list spans):
        """All of a new table, or nothing; an empty span is a slot to be filled later.  The buffers of one call do not
        know of each other, but for the folio that the one before ended with."""
        cdef int64_t result = 0
        spans = [words(span) for span in spans]
        with Hold(self.process.machine):
            self.process.look()
            result = self.register(spans)
            self.process.machine.drain_now()
        if self.process.leave(result) < 0:
            self.process.fail(result, "io_uring_register", (len(spans),))

    cdef int64_t register(self, list spans) except? -1:
        cdef int64_t result
        cdef list nodes = []
        if self.nodes:
            return -EBUSY
        if not 0 < len(spans) <= MAX_REG_BUFFERS:
            return -EINVAL
        try:
            result = self.fill(nodes, spans)
        except BaseException:
            self.forget(nodes)
            raise
        if result < 0:
            self.forget(nodes)
        else:
            self.nodes = nodes
        return result

    cdef int64_t fill(self, list nodes, list spans) except? -1:
        """Make buffers until one fails: 0 or its errno."""
        cdef int64_t result
        cdef CoreBuffer node
        self.last = -1
        for span in spans:
            node = None
            if span != (0, 0):
                node = CoreBuffer(self.process.machine, self.process, FOLL)
                result = self.make(node, span)
                if result < 0:
                    return result
            nodes.append(node)
        return 0

    def io_sqe_buffers_update(self, index, span):
        """Another buffer, or none, in a slot of the table."""
        cdef int64_t slot = i64(index, "index"), result = 0
        cdef tuple buffer = words(span)
        with Hold(self.process.machine):
            self.process.look()
            result = self.update_slot(slot, buffer)
            self.process.machine.drain_now()
        if self.process.leave(result) < 0:
            self.process.fail(result, "io_uring_register", (index, span))

    cdef int64_t update_slot(self, int64_t index, span) except? -1:
        cdef int64_t result = 0
        cdef CoreBuffer node = None, old
        if not self.nodes:
            return -ENXIO
        if not 0 <= index < len(self.nodes):
            return -EINVAL
        self.last = -1
        if span != (0, 0):
            node = CoreBuffer(self.process.machine, self.process, FOLL)
            result = self.make(node, span)
        if result == 0:
            old = self.nodes[index]
            self.nodes[index] = node
            if old is not None:
                old.put()
        return result

    def io_sqe_buffers_unregister(self):
        cdef int64_t result = 0
        with Hold(self.process.machine):
            self.process.look()
            result = 0 if self.nodes else -ENXIO
            self.forget(self.nodes)
            self.nodes = []
            self.process.machine.drain_now()
        if self.process.leave(result) < 0:
            self.process.fail(result, "io_uring_register", ())

    def __len__(self):
        return len(self.nodes)

    def __getitem__(self, index):
        return self.nodes[index]

    @property
    def first_number(self):
        """The number of a reference by which the ring is found in a copy of the machine; 0: it has no buffer."""
        cdef CoreBuffer node
        for node in self.nodes:
            if node is not None and node in self.process.machine.references:
                return node.number
        return 0

    @property
    def charged(self):
        """Bytes that the ring's buffers count against RLIMIT_MEMLOCK."""
        cdef CoreBuffer node
        pages = sum([holders[1] for holders in self.shared.values()])
        for node in self.nodes:
            pages += 0 if node is None else node.acct_pages
        return pages << FS_PAGE_SHIFT


# ---- copies of a machine ----

def get_rings(CoreMachine machine):
    """The rings that have buffers, in the order of these, as plain data; a buffer is the number of its reference."""
    cdef CoreReference one
    cdef CoreBuffers ring
    rings = {}
    for one in machine.references:
        if isinstance(one, CoreBuffer):
            ring = (<CoreBuffer>one).ring
            rings[id(ring)] = ring
    return [ring_state(ring) for ring in rings.values()]


def ring_state(CoreBuffers ring):
    """A ring as plain data."""
    cdef CoreBuffer node
    slots = []
    for node in ring.nodes:
        slots.append(None if node is None else {"number": node.number, "acct_pages": node.acct_pages,
                                                "folios": sorted(node.folios), "shared": sorted(node.shared or ())})
    return {"pid": ring.process.pid, "limit": ring.limit, "slots": slots,
            "shared": [[head, *holders] for head, holders in sorted(ring.shared.items())]}


def set_ring(CoreBuffers ring, fact, buffers):
    """Put a ring that was just made together again; `buffers` (references) by number."""
    cdef CoreBuffer node
    ring.limit = fact["limit"]
    ring.shared = {head: [holders, pages] for head, holders, pages in fact["shared"]}
    for slot in fact["slots"]:
        node = None
        if slot is not None:
            node = buffers[slot["number"]]
            node.ring, node.acct_pages = ring, slot["acct_pages"]
            node.folios, node.shared = set(slot["folios"]), set(slot["shared"])
        ring.nodes.append(node)


def ring_of(CoreMachine machine, int64_t number):
    """The ring of the buffer that is the number-th reference; None: there is no such buffer."""
    cdef CoreReference one
    for one in machine.references:
        if one.number == number and isinstance(one, CoreBuffer):
            return (<CoreBuffer>one).ring
    return None
