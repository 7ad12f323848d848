"""The machine's own kernel: runs scenarios on it, records what it shows, and compares it with the emulator."""
