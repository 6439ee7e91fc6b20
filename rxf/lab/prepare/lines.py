"""Lines of UTF-8 text, one by one, from plain and gzipped files.

A line ends at ``\\n`` and nowhere else: web text holds lone carriage returns and Unicode line
separators, and files that belong together line by line must not be cut at them.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Optional

from rxf.errors import UserError

__all__ = ["find_file", "read_lines"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def find_file(folder: Path, name: str) -> Optional[Path]:
    """``folder/name``, or the same with ``.gz``; None if there is neither.

    Raises:
        UserError: there are both, and they may differ.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file() and packed.is_file():
        raise UserError(f"DIR {folder}: holds {plain.name} and {packed.name}: keep one")
    return next((path for path in (plain, packed) if path.is_file()), None)


def read_lines(path: Path) -> Iterator[str]:
    """The lines without their ends; a byte order mark and CRLF line ends are taken off."""
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield _text(path, number, line)
    # A gzip file that is cut off or is none has errors of three kinds.
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}): check the path") from None


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        # A GzipFile is an IO[bytes] in all but its type.
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return open(path, "rb")


def _text(path: Path, number: int, line: bytes) -> str:
    if number == 1:
        line = line.removeprefix(BYTE_ORDER_MARK)
    try:
        return line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UserError(f"{path}:{number}: is not UTF-8 text: convert the file to UTF-8") from None
