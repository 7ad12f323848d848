"""What splits cost in the emulator, for ``foliosim bench``."""
