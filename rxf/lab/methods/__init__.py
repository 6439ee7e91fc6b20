"""`rxf methods`: every method, what turns it on, what it costs; the README's table too."""

import argparse
from pathlib import Path
from typing import Optional

from rxf.errors import UserError

__all__ = ["BEGIN", "END", "add_arguments", "filled_in", "run"]

BEGIN = "<!-- methods: begin (rxf methods --write README.md) -->"
END = "<!-- methods: end -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="the tables of the documentation")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the README's table between FILE's markers"
    )


def run(args: argparse.Namespace) -> int:
    """Print the methods, or write them; returns the exit status."""
    import rxf  # noqa: F401  (registers what the tables are read off)
    from rxf.lab.methods import tables

    if args.write is not None:
        _write(args.write, tables.readme())
    else:
        print(tables.markdown() if args.markdown else tables.terminal())
    return 0


def filled_in(text: str, tables: str) -> Optional[str]:
    """``text`` with ``tables`` in place of what stands between its markers.

    Returns:
        None where the text has not each marker once, in their order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in before + after:
        return None
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def _write(path: Path, tables: str) -> None:
    if not path.is_file():
        raise UserError(f"--write {path}: there is no such file")
    text = filled_in(path.read_text(encoding="utf-8"), tables)
    if text is None:
        raise UserError(f"--write {path}: the file needs {BEGIN} once, and after it {END} once")
    path.write_text(text, encoding="utf-8")
