"""A large folio whose pages are alike keeps their state in its head; whatever makes them differ, nothing gets lost."""
import pytest

import foliosim as fs

KIB, MIB, PAGE, HUGE = 1 << 10, 1 << 20, 4096, 2 << 20
FIXED = fs.MAP_PRIVATE | fs.MAP_ANONYMOUS | fs.MAP_FIXED
AT = 0x200000000000


def machine(order):
    """A machine, a process, and the size of a folio of the order that its PTEs map whole."""
    size = PAGE << order
    m = fs.Machine(memory="64M", thp="always" if order == 9 else "never", mthp={f"{size // KIB}kB": "always"})
    p = m.spawn()
    p.mmap(2 * HUGE, addr=AT, flags=FIXED)
    p.touch(AT, size, write=True)
    if order == 9:
        p.mprotect(AT, PAGE, fs.PROT_READ)
        p.mprotect(AT, PAGE, fs.PROT_READ | fs.PROT_WRITE)
    assert mapcounts(m, p, size) == {1} and m.folio(p.translate(AT) // PAGE).order == order
    return m, p, size


def mapcounts(m, p, size):
    return set(counts(m, p, size))


def counts(m, p, size):
    """Mapcount of each page of the folio."""
    m.validate()
    first = p.translate(AT) // PAGE
    return m.kpagecount(range(first, first + size // PAGE)).tolist()


@pytest.mark.parametrize("order", [2, 4, 9])
def test_fork_and_exit_count_every_page(order):
    m, p, size = machine(order)
    children = [p.fork(), p.fork()]
    assert mapcounts(m, p, size) == {3}
    for child in children:
        child.exit()
    assert mapcounts(m, p, size) == {1}


@pytest.mark.parametrize("order", [2, 4, 9])
def test_a_child_that_unmaps_a_part_leaves_the_rest_shared(order):
    m, p, size = machine(order)
    child = p.fork()
    child.munmap(AT, size // 2)
    half = size // PAGE // 2
    assert counts(m, p, size) == [1] * half + [2] * half
    child.exit()
    assert mapcounts(m, p, size) == {1}


@pytest.mark.parametrize("order", [2, 4, 9])
def test_a_page_that_is_written_is_the_only_one_that_differs(order):
    m, p, size = machine(order)
    p.write(AT + 2 * PAGE, 1, value=7)
    child = p.fork()
    assert [child.read(AT + i * PAGE, 1)[0] for i in range(4)] == [0, 0, 7, 0]
    p.write(AT + PAGE, 1, value=9)
    m.validate()
    assert child.read(AT + PAGE, 1)[0] == 0 and p.read(AT + PAGE, 1)[0] == 9
    child.exit()
    p.write(AT + 3 * PAGE, 1, value=5)
    m.validate()
    assert [p.read(AT + i * PAGE, 1)[0] for i in range(4)] == [0, 9, 7, 5]


@pytest.mark.parametrize("order", [2, 4, 9])
def test_mprotect_back_gives_write_permission_to_own_pages_only(order):
    m, p, size = machine(order)
    child = p.fork()
    p.write(AT + PAGE, 1, value=1)
    for prot in (fs.PROT_READ, fs.PROT_READ | fs.PROT_WRITE):
        p.mprotect(AT, size, prot)
        m.validate()
    addresses = [AT + i * PAGE for i in range(4)]
    assert [bool(rights & 2) for rights in p.walk(addresses)["rights"]] == [False, True, False, False]
    child.exit()
    m.validate()


@pytest.mark.parametrize("order", [4, 9])
def test_pieces_of_a_split_folio_hold_what_it_held(order):
    m, p, size = machine(order)
    p.write(AT + 5 * PAGE, 1, value=3)
    child = p.fork()
    m.split_folio(p.translate(AT) // PAGE, new_order=2)
    assert mapcounts(m, p, size) == {2}
    assert [child.read(AT + i * PAGE, 1)[0] for i in (4, 5, 6)] == [0, 3, 0]
    m.validate()


def test_a_read_pin_of_later_pages_of_a_huge_folio_needs_no_fault():
    m = fs.Machine(memory="64M", thp="always")
    p = m.spawn()
    p.mmap(2 * HUGE, addr=AT, flags=FIXED)
    p.write(AT, HUGE, value=1)
    p.write(AT + 5 * PAGE, 1, value=9)
    p.mprotect(AT, HUGE, fs.PROT_READ)
    with p.pin_user_pages(AT + PAGE, 2 * PAGE):
        m.validate()
    m.validate()
