"""Lets `python benchmarks/NAME.py` import what `python -m benchmarks.NAME` does.

Python puts a script's folder on its path, not the project's; so there this file is what is found as `benchmarks`. It
makes itself that package, and puts the project's folder on the path in the place of the script's.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

__path__ = [str(_HERE)]
sys.path[0] = str(_HERE.parent)
