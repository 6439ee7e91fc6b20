"""A web server that stands in for the official ones: with parts of files, cuts and misses."""

import http.server
import re
import threading
from pathlib import Path
from typing import Any, Optional

__all__ = ["Mirror"]


class Mirror:
    """Serves FOLDER/HOST/PATH, as ``RXF_MIRROR`` wants it, on a port of its own.

    Attributes:
        address: for ``RXF_MIRROR``.
        asked: path and Range header of every request, in order.
        cut_after: close the connection behind so many bytes of each answer.
        ranges: whether it sends parts of files; else it sends the whole file each time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, Optional[str]]] = []
        self.cut_after: Optional[int] = None
        self.ranges = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(mirror: Mirror) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range") if mirror.ranges else None
            mirror.asked.append((self.path, self.headers.get("Range")))
            path = mirror.folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content, start = path.read_bytes(), 0
            if wanted:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(content) and wanted:
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: mirror.cut_after])
            self.close_connection = mirror.cut_after is not None

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
