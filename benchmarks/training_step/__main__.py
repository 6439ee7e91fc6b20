"""``python -m benchmarks.training_step``."""

import sys

from benchmarks.training_step.command import main

if __name__ == "__main__":
    sys.exit(main())
