"""A file of a known package of the npm registry: downloaded, checked against a digest that is written in our code, and read.

Nothing is unpacked to disk: the members that are asked for are read by name, and only if they are plain files.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import io
import os
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from ....platform.errors import BadInput, TimedOut, Unreachable

REGISTRY = "https://registry.npmjs.org"
SECONDS = 60.0
_PIECE = 1 << 16


@dataclass(frozen=True)
class NpmPackage:
    """A package of which one version is known.

    Args:
        name: with its scope, if it has one.
        version: the one that is known.
        sha512: of its archive, in base64, as the registry's `integrity` has it after `sha512-`.
        size: of the archive, in bytes.
        licence: of the package.
    """

    name: str
    version: str
    sha512: str
    size: int
    licence: str

    def url(self, registry: str) -> str:
        """Where a registry has the archive.

        >>> NpmPackage("@scope/thing", "1.2.3", "", 0, "MIT").url("https://registry.example/npm/")
        'https://registry.example/npm/@scope/thing/-/thing-1.2.3.tgz'
        """
        return f"{registry.rstrip('/')}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def check(self, archive: bytes, told: str) -> bytes:
        """The archive itself, if it is the known one; `told` says in the message where it came from.

        Raises:
            BadInput: it is another.
        """
        if not hmac.compare_digest(hashlib.sha512(archive).digest(), base64.b64decode(self.sha512)):
            raise BadInput(
                f"{told} is not {self.name} {self.version} as it is known here",
                why=f"its {len(archive):,} bytes have another SHA-512; nothing of it was used",
                mend=f"fetch it again, from {REGISTRY} or a mirror that you trust",
            )
        return archive


def registry_of(given: str | None) -> str:
    """The registry: the given one, else the one npm is set to by the environment, else npm's own.

    Raises:
        BadInput: it is no address of http or https.
    """
    registry = given or _npm_setting("registry") or REGISTRY
    parts = urllib.parse.urlsplit(registry)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput("the registry is no address of http or https", mend=f"give one such as {REGISTRY}")
    return registry


def download(package: NpmPackage, registry: str, *, seconds: float = SECONDS) -> bytes:
    """The checked archive, from a registry. Proxies are those of the environment (`https_proxy`, `no_proxy`; npm's of these names too).

    Raises:
        Unreachable: the registry cannot be reached, or does not have it.
        TimedOut: nothing came for `seconds`.
        BadInput: what came is something else.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(_proxies()))
    mend = "check the network, give --registry URL of a mirror, or download the package elsewhere and give --file"
    try:
        with opener.open(package.url(registry), timeout=seconds) as answer:
            archive = _read(answer, package.size)
    except TimeoutError:
        raise TimedOut(f"the registry was silent for {seconds:g} seconds", mend=mend) from None
    except urllib.error.HTTPError as error:
        raise Unreachable(
            f"the registry does not give {package.name} {package.version}", why=f"it answered {error.code}", mend=mend
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), TimeoutError):
            raise TimedOut(f"the registry did not answer for {seconds:g} seconds", mend=mend) from None
        why = str(getattr(error, "reason", "") or type(error).__name__)
        raise Unreachable("the registry cannot be reached", why=why, mend=mend) from None
    return package.check(archive, "what the registry sent")


def _read(answer: io.BufferedIOBase, size: int) -> bytes:
    """Up to one byte more than there should be: a longer answer is another file, however long."""
    pieces, left = [], size + 1
    while left > 0 and (piece := answer.read(min(_PIECE, left))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _proxies() -> dict[str, str]:
    """The environment's, completed by those that npm alone was told of."""
    told = {"http": _npm_setting("proxy"), "https": _npm_setting("https_proxy") or _npm_setting("proxy")}
    return {scheme: proxy for scheme, proxy in told.items() if proxy} | urllib.request.getproxies()


def _npm_setting(name: str) -> str | None:
    """A setting that npm takes from the environment, in small letters or in capitals."""
    variable = f"npm_config_{name}"
    return os.environ.get(variable) or os.environ.get(variable.upper())


def read_members(archive: bytes, names: Mapping[str, int]) -> dict[str, bytes]:
    """Members of a .tgz by their names, and none of more bytes than is said beside its name.

    Raises:
        BadInput: the archive cannot be read, a member is missing, is no plain file, or is larger.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for name, most in names.items():
                member = tar.getmember(name)
                content = tar.extractfile(member) if member.isreg() and member.size <= most else None
                if content is None:
                    raise BadInput(f"{name} in the package is no plain file of at most {most:,} bytes")
                found[name] = content.read()
    except KeyError:
        raise BadInput(f"the package holds no {name}") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadInput("the package cannot be read", why=type(error).__name__, mend="fetch it again") from None
    return found
