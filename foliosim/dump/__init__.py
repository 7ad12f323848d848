"""Physical memory for others to read; `Machine.dump_physical`, ``foliosim dump``."""
from foliosim.dump.physical import PhysicalDump, check_format, dump_physical

__all__ = ["PhysicalDump", "check_format", "dump_physical"]
