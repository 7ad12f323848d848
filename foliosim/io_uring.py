"""Registered buffers of an io_uring: long-term pins that count against RLIMIT_MEMLOCK."""
from foliosim.cores import Tied


class RegisteredBuffers(Tied):
    """The buffers that a process has registered with one ring; made by `Process.register_buffers`.

    ``len(ring)`` is the number of slots; ``ring[i]`` is None, or a buffer with ``nbytes``, ``page_frames`` and
    ``charged`` (bytes charged for it alone).  A context manager that unregisters what is left.

    Attributes
    ----------
    charged : int
        Bytes that its buffers count against RLIMIT_MEMLOCK, as policy point ``pin_account`` says.
    """

    _core_class = ("rsrc", "CoreBuffers")

    def update(self, index, addr, length):
        """Register a buffer in a slot, as IORING_REGISTER_BUFFERS_UPDATE; what was there is unregistered after that.

        Parameters
        ----------
        index : int
            Slot.
        addr, length : int
            Bytes; need not be aligned to pages.

        Raises
        ------
        SyscallError
            ENOMEM: beyond the limit; EFAULT: some page could not be had, or a length of 0 or above 1 GiB; EINVAL: no
            such slot; ENXIO: no table.  The slot is left as it was.
        """
        self.io_sqe_buffers_update(index, (addr, length))

    def unregister(self, index=None):
        """Unregister the buffer of a slot, if there is one, or all buffers and the table.

        Raises
        ------
        SyscallError
            EINVAL: no such slot; ENXIO: nothing is registered.
        """
        if index is None:
            self.io_sqe_buffers_unregister()
        else:
            self.io_sqe_buffers_update(index, None)

    def __reduce__(self):
        state = self.process.machine.core.rsrc.ring_state(self)
        return _of_machine, (self.process.machine, self.process, self.first_number, state)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if len(self) and self.process.alive:
            self.unregister()

    def __repr__(self):
        if not self.process.alive:
            return "<RegisteredBuffers of a process that has exited>"
        used = sum(self[i] is not None for i in range(len(self)))
        return f"<RegisteredBuffers {used} of {len(self)} slots, {self.charged} bytes charged>"


def _of_machine(machine, process, number, state):
    """For copies of objects that hold rings: that of the machine's copy; one without buffers is made anew."""
    found = machine.core.rsrc.ring_of(machine, number)
    if found is None:
        found = RegisteredBuffers(machine, process)
        machine.core.rsrc.set_ring(found, state, {})
    return found
