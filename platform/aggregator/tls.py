"""TLS for both ends, from PEM files. With `client_ca` the server wants a certificate of each client too (mutual TLS)."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from ..errors import BadInput
from .config import TlsFiles


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """What a server needs to listen.

    Raises:
        BadInput: a file is absent, is no PEM file, or key and certificate do not belong together.
    """
    _check_pair(files.cert, files.key)
    pair = (_read(files.key), _read(files.cert))
    authority = None if files.client_ca is None else _authority(files.client_ca)
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


def client_credentials(ca: Path, cert: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    """What a client needs to dial: the authority it trusts and, for mutual TLS, its own certificate and key.

    Raises:
        BadInput: as for a server.
    """
    if cert is None or key is None:
        return grpc.ssl_channel_credentials(_authority(ca))
    _check_pair(cert, key)
    return grpc.ssl_channel_credentials(_authority(ca), _read(key), _read(cert))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a PEM file") from None


def _authority(path: Path) -> bytes:
    pem = _read(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise BadInput(f"{path} holds no certificates", mend="give the authority's PEM file") from None
    return pem


def _check_pair(cert: Path, key: Path) -> None:
    _read(cert)
    _read(key)
    try:
        # The empty password keeps OpenSSL from asking the terminal for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError):
        raise BadInput(
            f"{cert} and {key} are not a certificate and its key",
            why="one of them is no PEM file, or they do not belong together, or the key has a password",
            mend="give a certificate in PEM form and its own key without a password",
        ) from None
