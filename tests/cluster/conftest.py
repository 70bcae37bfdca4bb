import sys
from pathlib import Path

# `small_method` is imported by name, here and in Ray workers.
sys.path.insert(0, str(Path(__file__).parent))
