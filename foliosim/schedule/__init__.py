"""Interleavings: what processes and daemons do, in an order given by hand, searched from a seed, or replayed."""
from foliosim.schedule.program import Program, ScheduleError
from foliosim.schedule.run import Schedule, play
from foliosim.schedule.search import search

__all__ = ["Program", "Schedule", "ScheduleError", "play", "search"]
