"""References on user memory."""
from foliosim._core.branch import copied_reference
from foliosim._core.machine import CoreReference


class PageReference(CoreReference):
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

    def peek(self):
        """The first byte of each 4096-byte piece of the range, read through the references.

        Returns
        -------
        bytes
        """
        pieces = -(-self.nbytes // 4096)
        return self.bytes_at(self.offset)[:pieces]

    def __reduce__(self):
        return copied_reference, (self.machine, self.number, type(self))

    def release(self):
        """Drop the references; nothing if that was done."""
        self.drop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.release()

    def __repr__(self):
        kind = "pinned" if self.pinned else "referenced"
        return f"<PageReference pid={self.process.pid} nbytes={self.nbytes} {kind}>"
