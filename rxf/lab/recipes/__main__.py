"""``python -m rxf.lab.recipes``: which generated files of ``examples`` are stale; write them."""

import argparse
import sys
from typing import Optional

from rxf.errors import install_excepthook
from rxf.lab.recipes import files

__all__ = ["main"]


def main(argv: Optional[list[str]] = None) -> int:
    """Exit status 1 where files are stale and were not to be written."""
    parser = argparse.ArgumentParser(prog="python -m rxf.lab.recipes", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files that are stale")
    args = parser.parse_args(argv)
    root = files.repository()
    found = files.write(root) if args.write else files.stale(root)
    for path in found:
        print(f"{'wrote' if args.write else 'stale:'} {path}")
    return int(bool(found) and not args.write)


if __name__ == "__main__":
    install_excepthook()
    sys.exit(main())
