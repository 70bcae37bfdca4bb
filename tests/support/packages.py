"""A made-up package of the npm registry, and servers on this machine that give it, or something else."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

from stillhouse.methods.recognition.pretrained.npm_package import NpmPackage


def archive_of(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tgz; a `TarInfo` stands for a member that is no plain file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def package_of(archive: bytes) -> NpmPackage:
    """The package whose archive this is."""
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    return NpmPackage("@made-up/faces", "1.0.0", digest, len(archive), "MIT")


@contextmanager
def served(content: bytes, *, code: int = 200, asked: list[str] | None = None) -> Iterator[str]:
    """The address of a server that answers every request with `content`; the paths asked for are put into `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            self.send_response(code)
            self.end_headers()
            # Whoever has read enough hangs up.
            with suppress(OSError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
