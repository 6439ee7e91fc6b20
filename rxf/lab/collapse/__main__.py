"""``python -m rxf.lab.collapse``: as `rxf probe collapse`."""

import sys

from rxf.errors import install_excepthook
from rxf.lab.collapse import main

install_excepthook()
sys.exit(main())
