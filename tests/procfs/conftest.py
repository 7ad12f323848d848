import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))   # the modules that record.py shares with the tests
