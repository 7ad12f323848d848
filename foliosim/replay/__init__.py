"""Replay of traces of real programs, and the truth that they must give."""
from foliosim.replay.reader import Trace, TraceError, read_trace

__all__ = ["Trace", "TraceError", "read_trace"]
