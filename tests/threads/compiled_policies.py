"""Compiled policies made of what libc and ctypes have: the core asks them without the GIL."""
import ctypes

_python, _libc = ctypes.pythonapi, ctypes.CDLL(None)
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_python.PyCapsule_SetContext.argtypes = (ctypes.py_object, ctypes.c_void_p)
_DECIDE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int64))
_NAME = b"foliosim.decide_t"


def _capsule(function, context=None):
    capsule = _python.PyCapsule_New(ctypes.cast(function, ctypes.c_void_p), _NAME, None)
    _python.PyCapsule_SetContext(capsule, context)
    return capsule


def slow(microseconds):
    """Decides as Linux does, after a while: usleep(3) takes the context as its argument and returns 0."""
    return _capsule(_libc.usleep, microseconds)


class Calls:
    """Decides as Linux does, and calls a Python function, which takes the GIL itself: ``slot`` is the alternative."""

    def __init__(self, function):
        def decide(context, param, arg):
            function()
            return 0

        self._keep = _DECIDE(decide)
        self.slot = _capsule(self._keep)
