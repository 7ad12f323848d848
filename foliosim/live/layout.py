"""What the generator believes is mapped, so that most of its ranges hit something.

It need not be right: a wrong guess is a step that fails, which is tested too.
"""
from dataclasses import dataclass, replace

from foliosim.verify import numbers

PAGE = numbers.PAGE_SIZE
HUGE = 2 << 20
ARENA, ARENA_END = numbers.ARENA, numbers.ARENA + numbers.ARENA_SIZE


@dataclass(frozen=True)
class Area:
    """A mapping: its bounds and what is mapped ("private", "shared" or the name of a file)."""

    start: int
    end: int
    what: str = "private"


class Layout:
    """Areas of one process, and the ranges that its steps named last."""

    def __init__(self, areas=(), recent=()):
        self.areas, self.recent = list(areas), list(recent)

    def copy(self):
        """The layout of a forked process."""
        return Layout(self.areas, self.recent)

    def add(self, start, end, what):
        """A new mapping, over whatever is there."""
        if start >= end:
            return
        self.remove(start, end)
        self.areas.append(Area(start, end, what))
        self.areas.sort(key=lambda area: area.start)

    def remove(self, start, end):
        """Nothing is mapped in this range any more."""
        if start >= end:
            return
        kept = []
        for area in self.areas:
            if area.start < start:
                kept.append(replace(area, end=min(area.end, start)))
            if area.end > end:
                kept.append(replace(area, start=max(area.start, end)))
        self.areas = kept

    def move(self, start, end, target, keep=False):
        """Move what is mapped in a range; `keep` leaves the areas where they are, too."""
        moved = [replace(area, start=max(area.start, start) + target - start, end=min(area.end, end) + target - start)
                 for area in self.areas if area.start < end and area.end > start]
        if not keep:
            self.remove(start, end)
        for area in moved:
            self.add(area.start, area.end, area.what)

    def remember(self, start, end):
        """A step named this range."""
        self.recent = [*self.recent[-5:], (start, end)]


def pages_up(n):
    return -(-n // PAGE) * PAGE


def pick_range(rng, layout):
    """A range of whole pages as (start, end), mostly inside what is mapped."""
    if layout.recent and rng.random() < 0.22:
        start, end = rng.choice(layout.recent)
    elif layout.areas and rng.random() < 0.95:
        start, end = _inside(rng, rng.choice(layout.areas), layout)
    else:
        start = ARENA + rng.randrange(numbers.ARENA_SIZE // PAGE) * PAGE
        end = start + rng.choice((1, 4, 16, 256, 512)) * PAGE
    return start, max(min(end, ARENA_END), start + PAGE)


def _inside(rng, area, layout):
    start, end = area.start, area.end
    n = (end - start) // PAGE
    style = rng.random()
    if n == 1 or style < 0.22:
        return start, end
    if style < 0.40:  # one page
        at = start + rng.randrange(n) * PAGE
        return at, at + PAGE
    if style < 0.55:  # an aligned block of a folio's size
        size = PAGE << rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 9))
        at = (start + rng.randrange(n) * PAGE) & -size
        return max(at, start), min(at + size, end)
    if style < 0.65:  # around the border of a huge page
        border = (start + rng.randrange(n) * PAGE) & -HUGE
        spread = rng.choice((1, 4, 16, 64, 128)) * PAGE
        return max(border - spread, ARENA), border + spread
    if style < 0.75:  # head or tail
        middle = start + rng.randrange(1, n) * PAGE
        return (start, middle) if rng.random() < 0.5 else (middle, end)
    if style < 0.92:  # anything
        at = start + rng.randrange(n) * PAGE
        return at, at + rng.randrange(1, (end - at) // PAGE + 1) * PAGE
    if style < 0.96:  # beyond the end
        return start + rng.randrange(n) * PAGE, end + rng.choice((1, 4, 16, 64)) * PAGE
    other = rng.choice(layout.areas)
    return min(start, other.start), max(end, other.end)


def pick_place(rng, layout, length):
    """An address for a new mapping of `length` bytes: apart from the others, beside one, or over one."""
    style = rng.random()
    last = ARENA_END - pages_up(length)
    if not layout.areas:
        style = 1.0
    if style < 0.35:
        area = rng.choice(layout.areas)
        at = area.end if rng.random() < 0.6 else area.start - pages_up(length)
    elif style < 0.55:
        area = rng.choice(layout.areas)
        at = area.start + rng.randrange((area.end - area.start) // PAGE) * PAGE
    elif style < 0.85:
        at = ARENA + rng.randrange(12) * HUGE
    else:
        at = ARENA + rng.randrange(numbers.ARENA_SIZE // 4 // PAGE) * PAGE
    return max(ARENA, min(at, last))
