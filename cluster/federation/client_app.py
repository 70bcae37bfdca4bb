"""The Flower ClientApp, one silo: what a server may ask of it."""

from __future__ import annotations

from . import secure, silo
from .flower import client_app

HANDLERS = {"train": silo.train, "votes": silo.votes, secure.QUESTION: secure.question, secure.MESSAGE: secure.message}

app = client_app(HANDLERS)
