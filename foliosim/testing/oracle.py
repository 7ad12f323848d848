"""Who sees which bytes: a slow, obvious model of fork, copy on write and page references.

Nothing here knows folios, page tables or counters.  A process is a dict of page numbers to `Place`: where a page of
memory is mapped, with its own protection and advice, and the `Page` that holds the bytes.  What the model cannot know
from the bytes alone is where a *reference* ends up when Linux may reuse a page or copy it: with large folios that
depends on the folio's other pages.  A reference therefore lists every page that it may be on; with base pages only
there is always exactly one.
"""
import errno as _errno

PAGE = 4096
READ, WRITE = 1, 2


class Fault(Exception):
    """An access is refused: address and si_code."""

    def __init__(self, addr, code):
        super().__init__(hex(addr), code)
        self.addr, self.code = addr, code


class Failure(Exception):
    """A system call fails with an errno."""

    def __init__(self, number):
        super().__init__(_errno.errorcode[number])
        self.errno = number


class Page:
    """Bytes of one page, zero where nothing was stored.

    Attributes
    ----------
    exclusive : bool or None
        It belongs to one mapping, whose stores go right into it; None: with large folios nobody can tell.
    mapped : int
        How many places map it.
    slots : list of Slot
        References that are on it, or may be.
    """

    def __init__(self, data=None):
        self.data = dict(data or {})
        self.exclusive = True
        self.mapped = 0
        self.slots = []

    def byte(self, offset):
        return self.data.get(offset, 0)

    def is_zero(self):
        return not any(self.data.values())


class Slot:
    """One page of a reference: the pages it may be on, and whether it is a pin."""

    def __init__(self, page, pin):
        self.pages, self.pin = [page], pin
        page.slots.append(self)

    def may_follow(self, page):
        self.pages.append(page)
        page.slots.append(self)

    def drop(self):
        for page in self.pages:
            page.slots.remove(self)


class Place:
    """A page of address space.

    Attributes
    ----------
    shared, file : dict or None
        Pages by their number, of the object that it shares, or of the file that it is a private view of.
    page : Page or None
        The page that it has for itself; None: what the file has, or zeros.
    guard : bool
        No access is allowed.
    """

    def __init__(self, prot, shared=None, index=0, file=None):
        self.prot, self.shared, self.index, self.file = prot, shared, index, file
        self.dontfork = self.wipeonfork = self.locked = self.guard = False
        self.page = None

    def copy(self, page):
        """The same place elsewhere, with another page; mlock does not come along."""
        other = Place(self.prot, self.shared, self.index, self.file)
        other.dontfork, other.wipeonfork, other.guard = self.dontfork, self.wipeonfork, self.guard
        other.put(page)
        return other

    def put(self, page):
        if self.page is not None:
            self.page.mapped -= 1
        self.page = page
        if page is not None:
            page.mapped += 1

    def bytes_from(self):
        """The page that a load would read, None: zeros."""
        if self.shared is not None:
            return self.shared.get(self.index)
        return self.page if self.page is not None or self.file is None else self.file.get(self.index)


class Reference:
    """References on consecutive pages."""

    def __init__(self, process, slots, offset):
        self.process, self.slots, self.offset = process, slots, offset

    def allowed(self):
        """For each page, the set of bytes that it may show at the reference's offset."""
        return [{page.byte(self.offset) for page in slot.pages} for slot in self.slots]


class Oracle:
    """All processes.

    Parameters
    ----------
    large : bool
        Folios of several pages may occur.
    """

    def __init__(self, *, large):
        self.large = large
        self.processes = []
        self.references = []

    def spawn(self):
        process = Process(self)
        self.processes.append(process)
        return process

    def folios_may_split(self):
        """A folio's pages of zeros may have become the zero page: a later reference may be on that."""
        for process in self.processes if self.large else ():
            for place in process.places.values():
                if place.page is not None and place.page.is_zero():
                    place.page.exclusive = None


class Process:
    """One address space."""

    def __init__(self, oracle):
        self.oracle = oracle
        self.places = {}
        self.ever_pinned = False

    # ---- mappings ----

    def mmap(self, addr, length, prot, *, shared=False, populate=False, file=None):
        """Anonymous memory, or a file from its start: a dict of its pages."""
        object = ({} if file is None else file) if shared else None
        self.munmap(addr, length)
        for index, number in enumerate(pages(addr, length)):
            self.places[number] = Place(prot, object, index, None if shared else file)
        if populate and prot:
            self._populate(pages(addr, length))

    def munmap(self, addr, length):
        for number in pages(addr, length):
            place = self.places.pop(number, None)
            if place is not None:
                place.put(None)

    def mprotect(self, addr, length, prot):
        for number in pages(addr, length):
            place = self._place(number)
            becomes_writable = prot & WRITE and not place.prot & WRITE
            place.prot = prot
            if place.locked and place.shared is None and becomes_writable:
                self._own(place)

    def mremap(self, old, length, new):
        """MREMAP_MAYMOVE | MREMAP_FIXED, both lengths equal, ranges apart.

        Only what is mapped moves and makes room where it goes: what lies behind a hole's destination stays.
        """
        if old // PAGE not in self.places:
            raise Failure(_errno.EFAULT)
        for number in pages(old, length):
            if number in self.places:
                target = number + (new - old) // PAGE
                self.munmap(target * PAGE, PAGE)
                self.places[target] = self.places.pop(number)

    def mremap_dontunmap(self, old, length, new):
        """The pages move, what maps them stays as well; of one area, which is not locked."""
        self.munmap(new, length)
        for number in pages(old, length):
            place = self.places[number]
            self.places[number + (new - old) // PAGE] = place.copy(place.page)
            place.put(None)
            place.guard = False

    # ---- advice ----

    def _advise(self, addr, length, do):
        """Do it to every place in order; holes are passed over and reported at the end."""
        hole = False
        for number in pages(addr, length):
            if number in self.places:
                do(self.places[number])
            else:
                hole = True
        if hole:
            raise Failure(_errno.ENOMEM)

    def dontneed(self, addr, length):
        def drop(place):
            if place.locked:
                raise Failure(_errno.EINVAL)
            place.put(None)
        self._advise(addr, length, drop)

    def dontneed_locked(self, addr, length):
        self._advise(addr, length, lambda place: place.put(None))

    def set_dontfork(self, addr, length, value):
        self._advise(addr, length, lambda place: setattr(place, "dontfork", value))

    def set_wipeonfork(self, addr, length, value):
        def change(place):
            if value and (place.shared is not None or place.file is not None):
                raise Failure(_errno.EINVAL)
            place.wipeonfork = value
        self._advise(addr, length, change)

    def guard_install(self, addr, length):
        def install(place):
            if place.locked:
                raise Failure(_errno.EINVAL)
            place.put(None)
            place.guard = True
        self._advise(addr, length, install)

    def guard_remove(self, addr, length):
        self._advise(addr, length, lambda place: setattr(place, "guard", False))

    def remove(self, addr, length):
        """Pages of shared memory go, for everybody who shares it."""
        def punch(place):
            if place.locked or (place.shared is None and place.file is None):
                raise Failure(_errno.EINVAL)
            if place.shared is None:
                raise Failure(_errno.EACCES)
            place.shared.pop(place.index, None)
        self._advise(addr, length, punch)

    def collapse(self, addr, length):
        """Blocks may be copied to huge folios, those with a reference are not: from now on nobody can tell."""
        for number in pages(addr, length):
            place = self.places.get(number)
            if place is not None and place.page is not None and not place.page.slots:
                place.page.exclusive = None
                place.put(Page(place.page.data))
                place.page.exclusive = None

    def no_effect(self, addr, length):
        """Advice that leaves all bytes alone."""
        self._advise(addr, length, lambda place: None)

    def populate(self, addr, length, *, write):
        for number in pages(addr, length):
            place = self._place(number)
            if not place.prot & (WRITE if write else READ):
                raise Failure(_errno.EINVAL)
            if place.guard:
                raise Failure(_errno.EFAULT)
            if write:
                self._own(place)
            else:
                self._load(place)

    def mlock(self, addr, length):
        for number in pages(addr, length):
            self._place(number).locked = True
        self._populate(pages(addr, length))

    def munlock(self, addr, length):
        for number in pages(addr, length):
            self._place(number).locked = False

    # ---- processes ----

    def fork(self):
        child = self.oracle.spawn()
        for number, place in self.places.items():
            if place.dontfork:
                continue
            page = None if place.wipeonfork else place.page
            if page is not None and place.shared is None:
                page = self._page_for_child(page)
            child.places[number] = place.copy(page)
            if place.wipeonfork:
                child.places[number].guard = False
        return child

    def _page_for_child(self, page):
        if any(slot.pin for slot in page.slots):
            copy = Page(page.data)
            copy.exclusive = page.exclusive
            return copy
        if page.exclusive is not None:
            page.exclusive = None if self.oracle.large and self.ever_pinned else False
        return page

    def exit(self):
        for reference in [reference for reference in self.oracle.references if reference.process is self]:
            self.release(reference)
        for place in self.places.values():
            place.put(None)
        self.places.clear()
        self.oracle.processes.remove(self)

    # ---- accesses ----

    def read(self, addr, length, *, offset=0):
        out = bytearray()
        for at in range(addr + offset, addr + length, PAGE):
            page = self._load(self._access(at, READ))
            out.append(page.byte(at % PAGE) if page is not None else 0)
        return bytes(out)

    def write(self, addr, length, value, *, delta=0, offset=0):
        for count, at in enumerate(range(addr + offset, addr + length, PAGE)):
            page = self._own(self._access(at, WRITE))
            page.data[at % PAGE] = (value + count * delta) % 256

    def _access(self, at, right):
        place = self.places.get(at // PAGE)
        if place is None:
            raise Fault(at, "MAPERR")
        if not place.prot & right:
            raise Fault(at, "ACCERR")
        if place.guard:
            raise Fault(at, "MAPERR")
        return place

    # ---- references ----

    def get(self, addr, length):
        """FOLL_GET without FOLL_WRITE; stops at the first page that cannot be had."""
        slots = []
        for number in pages(addr, length):
            place = self.places.get(number)
            if place is None or not place.prot & READ or place.guard:
                break
            slots.append(Slot(self._referenced(place), pin=False))
        if not slots:
            raise Failure(_errno.EFAULT)
        return self._keep(slots, addr)

    def pin(self, addr, length, *, longterm, write):
        """FOLL_PIN: all pages or none."""
        self.ever_pinned = True
        found = []
        for number in pages(addr, length):
            place = self.places.get(number)
            if place is None or not place.prot & (WRITE if write else READ) or place.guard:
                raise Failure(_errno.EFAULT)
            of_file = place.page is None and place.file is not None
            unshare = write or longterm or not (of_file or may_be_zero_page(place.page))
            found.append(self._own(place) if unshare else self._referenced(place))
        return self._keep([Slot(page, pin=True) for page in found], addr)

    def release(self, reference):
        for slot in reference.slots:
            slot.drop()
        self.oracle.references.remove(reference)

    def _keep(self, slots, addr):
        reference = Reference(self, slots, addr % PAGE)
        self.oracle.references.append(reference)
        return reference

    # ---- pages ----

    def _place(self, number):
        if number not in self.places:
            raise Failure(_errno.ENOMEM)
        return self.places[number]

    def _populate(self, numbers):
        """What mlock does to make pages present: private writable memory is written to, without a change."""
        for number in numbers:
            place = self.places[number]
            if not place.prot or place.guard:
                raise Failure(_errno.ENOMEM)
            if place.shared is None and place.prot & WRITE:
                self._own(place)
            else:
                self._load(place)

    def _load(self, place):
        """The page that is read; shared memory and files get one, private memory reads zeros without one."""
        if place.shared is not None:
            return place.shared.setdefault(place.index, Page())
        if place.page is None and place.file is not None:
            return place.file.setdefault(place.index, Page())
        return place.page

    def _referenced(self, place):
        """The page that a read-only reference is on."""
        page = self._load(place)
        if page is not None:
            return page
        page = Page()  # the zero page, unless a large folio is there already
        if self.oracle.large:
            page.exclusive = None
            place.put(page)
        return page

    def _own(self, place):
        """The page that a store of this place goes to, from now on exclusive."""
        if place.shared is not None:
            return self._load(place)
        old = place.page
        if old is None:
            place.put(Page(self._load(place).data if place.file is not None else None))
        elif not old.exclusive and not self._can_reuse(old):
            place.put(Page(old.data))
            for slot in list(old.slots):
                if old.exclusive is None or len(slot.pages) > 1 or (self.oracle.large and not old.mapped):
                    slot.may_follow(place.page)
        place.page.exclusive = True
        return place.page

    @staticmethod
    def _can_reuse(page):
        return page.mapped == 1 and not page.slots


def may_be_zero_page(page):
    """Whether a place that holds this page may show the zero page, which a short pin takes as it is."""
    return page is None or page.exclusive is None and page.is_zero()


def pages(addr, length):
    """Numbers of the pages of a range."""
    return range(addr // PAGE, -(-(addr + length) // PAGE))
