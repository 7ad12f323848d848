"""volatility3's Intel layers over a dumped file."""
import numpy as np
from volatility3.framework import contexts, exceptions
from volatility3.framework.layers import intel, lime, physical

from foliosim.testing.judge.answers import ANSWER, FAULT


class Volatility:
    """Translates without rights: a page is there or it is not.

    Parameters
    ----------
    path : path
        A dump in the format of LiME.
    cr3 : int
        Address of the root table.
    linux : bool
        `LinuxIntel32e`, which takes PROT_NONE pages for present and undoes the inversion of their address, instead
        of `Intel32e`, which knows the processor only.
    """

    def __init__(self, path, cr3, *, linux=False):
        context = contexts.Context()
        for name, value in {"file.location": path.absolute().as_uri(), "lime.base_layer": "file",
                            "intel.memory_layer": "lime", "intel.page_map_offset": cr3}.items():
            context.config[name] = value
        context.add_layer(physical.FileLayer(context, "file", "file"))
        context.add_layer(lime.LimeLayer(context, "lime", "lime"))
        layer = intel.LinuxIntel32e if linux else intel.Intel32e
        self.layer = layer(context, "intel", "intel")
        context.add_layer(self.layer)

    def ask(self, addrs):
        """Translate.

        Parameters
        ----------
        addrs : numpy.ndarray of uint64

        Returns
        -------
        numpy.ndarray of ANSWER
            ``error`` is 0, or that of a fault without a code.
        """
        return np.array([self._one(addr) for addr in addrs.tolist()], dtype=ANSWER)

    def _one(self, addr):
        try:
            return self.layer._translate(addr)[0], 0
        except exceptions.InvalidAddressException:
            return 0, FAULT
