"""``python -m foliosim``."""
from foliosim.cli import main

main(prog_name="foliosim")
