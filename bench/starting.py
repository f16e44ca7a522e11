"""How long until the command line answers, and until the package is imported? Medians of whole processes.

python bench/starting.py
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import tyro
from report import median_of, record

CASES = {
    "bottega --help": ["-m", "bottega", "--help"],
    "bottega train --help": ["-m", "bottega", "train", "--help"],
    "import bottega": ["-c", "import bottega"],
    "python alone": ["-c", ""],
}


def main() -> None:
    """Time each case nine times."""
    for case, words in CASES.items():
        command = [sys.executable, *words]
        took = median_of(partial(subprocess.run, command, capture_output=True, check=True), 9)
        record("starting", {"case": case, "seconds": took})
        print(f"{case}: {took:.3f} s")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
