"""How a command says which aggregator it talks to, and as whom."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ...platform.aggregator.client import Endpoint
from ...platform.errors import BadInput

TOKEN_VARIABLE = "STILLHOUSE_TOKEN"


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that `endpoint_of` reads."""
    parser.add_argument("--address", default="127.0.0.1:50051", help="the aggregator's host:port")
    parser.add_argument(
        "--token-file", type=Path, help=f"file with the access token (else the variable {TOKEN_VARIABLE})"
    )
    parser.add_argument("--ca", type=Path, help="TLS: the authority that signed the aggregator's certificate (PEM)")
    parser.add_argument("--cert", type=Path, help="mutual TLS: own certificate (PEM)")
    parser.add_argument("--key", type=Path, help="mutual TLS: own key (PEM)")


def read_token(file: Path | None) -> str:
    """Return the token from a file or the environment; a token on the command line would show in the process list."""
    if file is not None:
        if not file.is_file():
            raise BadInput(f"no token file {file}", mend="ask the aggregator's operator for one (`stillhouse token`)")
        try:
            return file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            raise BadInput(f"{file} holds no token", why="it is no text", mend="give the file that holds it") from None
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise BadInput("no access token", mend=f"give --token-file, or set {TOKEN_VARIABLE}")
    return token


def endpoint_of(options: argparse.Namespace) -> Endpoint:
    """Return the endpoint that the arguments describe."""
    return Endpoint(options.address, read_token(options.token_file), ca=options.ca, cert=options.cert, key=options.key)
