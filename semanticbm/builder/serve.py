"""`semanticbm book --serve`: the built book on this machine alone, at a free port.

Quarto's search needs a server: browsers do not let a page that was opened from disk read its index.
"""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from semanticbm.errors import UserError

HOST = "127.0.0.1"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and prints no line for each."""

    def log_message(self, format, *arguments):
        """Say nothing."""


def server_of(folder: Path) -> ThreadingHTTPServer:
    """A server for the book in `folder`, bound to a free port. Raises `UserError` if there is no book."""
    if not (folder / "index.html").is_file():
        raise UserError(f"there is no book in {folder} yet: run semanticbm book first.")
    return ThreadingHTTPServer((HOST, 0), partial(QuietHandler, directory=str(folder)))


def serve(folder: Path) -> None:
    """Serve the book until Ctrl-C; the first line says where."""
    with server_of(folder) as server:
        print(f"book: http://{HOST}:{server.server_address[1]}/  (stop with Ctrl-C)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("book: stopped serving", flush=True)
