"""The `rxf` command itself."""

import os
import subprocess
import sys


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "import sys; from rxf.cli import main; sys.exit(main())"]
    done = subprocess.run([*command, "methods"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 141
    assert "Error" not in done.stderr and "Traceback" not in done.stderr
