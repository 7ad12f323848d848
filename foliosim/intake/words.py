"""What strace writes for numbers: flags by name, descriptors with their paths, addresses, sizes, octal."""
import errno
import re

_NAMES = {
    "NULL": 0, "PROT_NONE": 0, "PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4, "PROT_SEM": 8,
    "PROT_GROWSDOWN": 0x01000000, "PROT_GROWSUP": 0x02000000,
    "MAP_FILE": 0, "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_SHARED_VALIDATE": 3, "MAP_DROPPABLE": 8, "MAP_FIXED": 0x10,
    "MAP_ANONYMOUS": 0x20, "MAP_32BIT": 0x40, "MAP_ABOVE4G": 0x80, "MAP_GROWSDOWN": 0x100, "MAP_DENYWRITE": 0x800,
    "MAP_EXECUTABLE": 0x1000, "MAP_LOCKED": 0x2000, "MAP_NORESERVE": 0x4000, "MAP_POPULATE": 0x8000,
    "MAP_NONBLOCK": 0x10000, "MAP_STACK": 0x20000, "MAP_HUGETLB": 0x40000, "MAP_SYNC": 0x80000,
    "MAP_FIXED_NOREPLACE": 0x100000, "MAP_UNINITIALIZED": 0x4000000, "MAP_HUGE_SHIFT": 26,
    "MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4,
    "MADV_NORMAL": 0, "MADV_RANDOM": 1, "MADV_SEQUENTIAL": 2, "MADV_WILLNEED": 3, "MADV_DONTNEED": 4, "MADV_FREE": 8,
    "MADV_REMOVE": 9, "MADV_DONTFORK": 10, "MADV_DOFORK": 11, "MADV_MERGEABLE": 12, "MADV_UNMERGEABLE": 13,
    "MADV_HUGEPAGE": 14, "MADV_NOHUGEPAGE": 15, "MADV_DONTDUMP": 16, "MADV_DODUMP": 17, "MADV_WIPEONFORK": 18,
    "MADV_KEEPONFORK": 19, "MADV_COLD": 20, "MADV_PAGEOUT": 21, "MADV_POPULATE_READ": 22, "MADV_POPULATE_WRITE": 23,
    "MADV_DONTNEED_LOCKED": 24, "MADV_COLLAPSE": 25, "MADV_HWPOISON": 100, "MADV_SOFT_OFFLINE": 101,
    "MADV_GUARD_INSTALL": 102, "MADV_GUARD_REMOVE": 103,
    "MCL_CURRENT": 1, "MCL_FUTURE": 2, "MCL_ONFAULT": 4, "MLOCK_ONFAULT": 1,
    "MS_ASYNC": 1, "MS_INVALIDATE": 2, "MS_SYNC": 4,
    "PR_SET_THP_DISABLE": 41, "PR_GET_THP_DISABLE": 42, "PR_SET_MM": 35, "PR_SET_MEMORY_MERGE": 67,
    "PR_GET_MEMORY_MERGE": 68, "PR_SET_VMA": 0x53564d41, "PR_SET_VMA_ANON_NAME": 0, "PR_THP_DISABLE_EXCEPT_ADVISED": 2,
    "MFD_CLOEXEC": 1, "MFD_ALLOW_SEALING": 2, "MFD_HUGETLB": 4, "MFD_NOEXEC_SEAL": 8, "MFD_EXEC": 16,
    "FALLOC_FL_KEEP_SIZE": 1, "FALLOC_FL_PUNCH_HOLE": 2, "FALLOC_FL_COLLAPSE_RANGE": 8, "FALLOC_FL_ZERO_RANGE": 16,
    "FALLOC_FL_INSERT_RANGE": 32, "FALLOC_FL_UNSHARE_RANGE": 64,
    "IPC_PRIVATE": 0, "IPC_CREAT": 0o1000, "IPC_EXCL": 0o2000, "SHM_RDONLY": 0o10000, "SHM_RND": 0o20000,
    "SHM_REMAP": 0o40000, "SHM_EXEC": 0o100000, "SHM_HUGETLB": 0o4000, "SHM_NORESERVE": 0o10000,
    "CLONE_VM": 0x100, "CLONE_FS": 0x200, "CLONE_FILES": 0x400, "CLONE_SIGHAND": 0x800, "CLONE_PIDFD": 0x1000,
    "CLONE_PTRACE": 0x2000, "CLONE_VFORK": 0x4000, "CLONE_PARENT": 0x8000, "CLONE_THREAD": 0x10000,
    "CLONE_NEWNS": 0x20000, "CLONE_SYSVSEM": 0x40000, "CLONE_SETTLS": 0x80000, "CLONE_PARENT_SETTID": 0x100000,
    "CLONE_CHILD_CLEARTID": 0x200000, "CLONE_DETACHED": 0x400000, "CLONE_UNTRACED": 0x800000,
    "CLONE_CHILD_SETTID": 0x1000000, "CLONE_NEWCGROUP": 0x2000000, "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000, "CLONE_NEWUSER": 0x10000000, "CLONE_NEWPID": 0x20000000, "CLONE_NEWNET": 0x40000000,
    "CLONE_IO": 0x80000000,
}
_DESCRIPTOR = re.compile(r"(-?\d+)<(.*)>(\(deleted\))?", re.DOTALL)


class UnknownWord(ValueError):
    """A word that is no number and no known name."""


def split(text):
    """Arguments at their commas, as far as those are not in quotes, brackets or a path."""
    parts, depth, quoted, start, at = [], 0, False, 0, 0
    while at < len(text):
        letter = text[at]
        if quoted:
            at += letter == "\\"
            quoted = letter != '"'
        elif letter == '"':
            quoted = True
        elif letter in "([{<" and text[at:at + 2] != "<<":
            depth += 1
        elif letter in ")]}>" or text[at:at + 2] == "<<":
            at += text[at:at + 2] == "<<"
            depth -= letter in ")]}>"
        elif letter == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    if quoted or depth:
        raise UnknownWord(text)
    last = text[start:].strip()
    return parts + [last] if last or parts else []


def number(word):
    """The number that a word of strace stands for."""
    while "/*" in word and "*/" in word:
        before, _, rest = word.partition("/*")
        word = before + rest.partition("*/")[2]
    word = word.strip()
    word = word.partition("=")[2] if re.match(r"[a-z_]+=", word) else word
    match = _DESCRIPTOR.fullmatch(word)
    if match:
        return int(match[1])
    if word.startswith('"'):
        return 1  # a name by pointer: something that is not NULL
    return sum({_part(part.strip()) for part in word.split("|")})


def _part(word):
    if "<<" in word:
        value, shift = map(number, word.split("<<"))
        if not 0 <= shift < 64:
            raise UnknownWord(word)
        return value << shift
    if re.fullmatch(r"-?\d+", word):
        return int(word, 8 if re.fullmatch(r"0\d+", word) else 10)
    if re.fullmatch(r"0x[0-9a-fA-F]+", word):
        return int(word, 16)
    if word in _NAMES:
        return _NAMES[word]
    if word.startswith("SIG"):
        return 0  # of clone: the signal at exit is no flag
    raise UnknownWord(word)


def path_of(word):
    """The path of a descriptor, ``3</usr/lib/libc.so.6>``; empty if it has none."""
    match = _DESCRIPTOR.fullmatch(word.strip())
    if match is None:
        return ""
    path = re.sub(r"<(char|block) [0-9a-f:]+>$", "", match[2])
    return path.removesuffix(" (deleted)")


def result(text):
    """What stands behind the equals sign: a number, -errno, or None for ``?``."""
    text = text.strip()
    if text.startswith("?"):
        return None
    match = re.match(r"(0x[0-9a-fA-F]+|-?\d+)(?:<.*?>)?(?:\s+([A-Z]+))?", text)
    if match is None:
        raise UnknownWord(text)
    if match[1] == "-1" and match[2]:
        return -getattr(errno, match[2])
    return int(match[1], 16 if match[1].startswith("0x") else 10)


def unquoted(word):
    """The text of a string, with strace's escapes."""
    match = re.match(r'"((?:[^"\\]|\\.)*)"', word)
    if match is None:
        raise UnknownWord(word)
    return match[1].encode("latin-1", "replace").decode("unicode_escape")
