"""``python -m tests.faults``."""

import sys

if __name__ == "__main__":
    # Here, since each training that is forked imports this file again.
    from tests.faults.command import main

    sys.exit(main())
