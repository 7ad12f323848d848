"""/proc/PID/maps.  Follows show_map_vma (fs/proc/task_mmu.c)."""

NAME_COLUMN = 73
VM_MAYSHARE = 0x80
# Name and device (major, minor) of the kinds of files that an area can map; the kind is mapping_t.kind.
FILES = {
    0: ("", (0, 0)),
    1: ("/dev/zero (deleted)", (0, 1)),
    2: ("/memfd:foliosim (deleted)", (0, 1)),
    3: ("/dev/shm/foliosim (deleted)", (0, 0x1b)),
    4: ("/var/tmp/foliosim (deleted)", (0xfe, 0)),
    5: ("/dev/vfio/devices/vfio0", (0, 5)),
}
# The page at the end of kernel space that every x86-64 process shows, as vsyscall=xonly maps it.
GATE = (0xffffffffff600000, 0xffffffffff601000)


def maps(process):
    """Text of /proc/PID/maps.

    Parameters
    ----------
    process : Process

    Returns
    -------
    str
    """
    return "".join(area_line(area) for area in process.machine.core.procfs.areas(process)) \
        + gate_line(process.machine)


def area_line(area):
    """The line of one area as `_core.procfs.areas` gives it."""
    start, end, flags, _, offset, inode, kind, _ = area
    name, device = FILES[kind]
    rights = "".join(letter if flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
    return line(start, end, rights + ("s" if flags & VM_MAYSHARE else "p"), offset, device, inode, name)


def gate_line(machine):
    """The line of the vsyscall page, which only x86-64 has."""
    return line(*GATE, "--xp", name="[vsyscall]") if machine.arch == "x86_64" else ""


def line(start, end, perms, offset=0, device=(0, 0), inode=0, name=""):
    """A line of maps; a name begins at column 73, or one blank after what is longer than that."""
    text = f"{start:08x}-{end:08x} {perms} {offset:08x} {device[0]:02x}:{device[1]:02x} {inode} "
    return f"{text.ljust(NAME_COLUMN)}{name}\n" if name else text + "\n"
