"""Areas of a machine's processes, made from pictures of areas, and the files that they map."""
from collections import Counter

from foliosim._core import binfmt, restore
from foliosim.attach.proc import PAGE

KERNEL_OWN = ("[vdso]", "[vvar]", "[vvar_vclock]")
_TMPFS = ("/memfd:", "/dev/shm/", "/SYSV", "/dev/zero")


class Files:
    """A file of the machine for each that the processes map."""

    def __init__(self, attached):
        self.machine, self.files, self.tmpfs, self.names = attached.machine, {}, set(), {}
        self.length = Counter()
        for picture in attached.pictures.values():
            for area in picture.areas:
                key = self.key(area)
                self.length[key] = max(self.length[key], area.offset + area.end - area.start)

    def key(self, area):
        return area.name if area.name in KERNEL_OWN else (area.device, area.inode)

    def of(self, area):
        key = self.key(area)
        if key not in self.files:
            tmpfs = area.name.startswith(_TMPFS) or area.inode == 0 and area.name not in KERNEL_OWN
            self.files[key] = self.machine.create_file("memfd" if tmpfs else "disk", self.length[key])
            restore.set_file(self.files[key], not tmpfs, True)
            if tmpfs:
                self.tmpfs.add(key)
        return self.files[key]

    def name(self, area):
        """A number for the name of anonymous memory."""
        return self.names.setdefault(area.name, len(self.names) + 1) if area.name.startswith("[anon:") else 0

    def done(self):
        """Everything is mapped: from now on faults map around, files live as long as they are mapped."""
        for key, file in self.files.items():
            if key not in KERNEL_OWN:
                restore.set_file(file, key not in self.tmpfs, False)
            file.close()


def add_area(attached, process, area, without=""):
    """without: codes of flags that it does not get."""
    if area.name == "[vsyscall]":
        return
    codes = " ".join(code for code in area.flags.split() if code not in without.split())
    flags, unknown = restore.vm_flags(attached.machine, codes)
    for code in unknown:
        attached.left_out[f"areas with the flag {code}, which is not emulated"] += 1
    files = attached.files
    if area.name in KERNEL_OWN:
        binfmt.map_special(process, area.start, area.end - area.start, files.of(area), area.name == "[vdso]")
    elif area.anonymous:
        restore.add_area(process, area.start, area.end, area.start // PAGE, flags, name=files.name(area))
    else:
        restore.add_area(process, area.start, area.end, area.offset // PAGE, flags, files.of(area), files.name(area))
