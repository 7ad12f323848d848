"""References on user memory."""
from foliosim.cores import Tied


class PageReference(Tied):
    """References on the pages of a range; a context manager that releases them.

    Attributes
    ----------
    nbytes : int
        Bytes of the range that are referenced; fewer than asked for if a page could not be had.
    pinned : bool
        Taken by pin_user_pages.
    page_frames : list of int
        Frame numbers.
    """

    _core_class = ("machine", "CoreReference")

    def peek(self):
        """The first byte of each page-sized piece of the range, read through the references.

        Returns
        -------
        bytes
        """
        pieces = -(-self.nbytes // self.machine.page_size)
        return self.bytes_at(self.offset)[:pieces]

    def __reduce__(self):
        return _of_machine, (self.machine, self.number)

    def release(self):
        """Drop the references; nothing if that was done."""
        self.drop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.release()

    def __repr__(self):
        if self.process is None or not self.process.alive or not len(self.page_frames):
            return "<PageReference released>"
        kind = "pinned" if self.pinned else "referenced"
        return f"<PageReference pid={self.process.pid} nbytes={self.nbytes} {kind}>"


def _of_machine(machine, number):
    """For copies of objects that hold references: that of the machine's copy, or one that has been released."""
    return machine.core.branch.copied_reference(machine, number, PageReference)
