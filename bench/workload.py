"""One of each operation, small: what bench.gate counts instructions of."""
import foliosim as fs

HUGE = 2 << 20
READ, WRITE = fs.PROT_READ, fs.PROT_READ | fs.PROT_WRITE


def ranges(size, **settings):
    """Every operation on a range, once."""
    machine = fs.Machine(memory=8 * size, **settings)
    process = machine.spawn()
    addr = -(-process.mmap(size + HUGE) // HUGE) * HUGE
    process.touch(addr, size, write=True)
    process.mprotect(addr, size, READ)
    process.mprotect(addr, size, WRITE)
    process.mlock(addr, size)
    process.munlock(addr, size)
    process.pin_user_pages(addr, size, write=True).release()
    child = process.fork()               # of a process that has pinned
    child.touch(addr, 16 * HUGE, write=True)
    child.exit()
    process.madvise(addr, size // 2, fs.MADV_DONTNEED)
    process.munmap(addr, size)


def fork(size, **settings):
    """A fork of a process that has never pinned a page."""
    process = fs.Machine(memory=4 * size, **settings).spawn()
    addr = -(-process.mmap(size + HUGE) // HUGE) * HUGE
    process.touch(addr, size, write=True)
    process.fork()


def splits(n):
    """PMD splits, and folio splits to single pages and to order 4."""
    machine = fs.Machine(memory=8 * n * HUGE, thp="always")
    process = machine.spawn()
    addr = -(-process.mmap((n + 1) * HUGE) // HUGE) * HUGE
    process.write(addr, n * HUGE, value=1)
    for i in range(0, n, 2):
        machine.split_folio(process.translate(addr + i * HUGE) // 4096, new_order=2 * (i % 4))
        process.mprotect(addr + (i + 1) * HUGE, 4096, READ)


def calls(n):
    """Calls of one page each."""
    process = fs.Machine(memory="16M", thp="never").spawn()
    addr = process.mmap(3 * 4096)
    for _ in range(n):
        process.touch(addr, 4096, write=True)
        process.translate(addr)
        process.mprotect(addr + 4096, 4096, READ)
        process.mprotect(addr + 4096, 4096, WRITE)
        process.madvise(addr, 4096, fs.MADV_NORMAL)


def main():
    ranges(32 << 20, thp="never")
    ranges(32 << 20, thp="never", mthp={"64kB": "always"})
    ranges(256 << 20, thp="always")
    fork(32 << 20, thp="never")
    fork(32 << 20, thp="never", mthp={"64kB": "always"})
    fork(256 << 20, thp="always")
    splits(32)
    calls(1000)


if __name__ == "__main__":
    main()
