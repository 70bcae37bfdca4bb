"""Keys: who somebody is (Ed25519), what two members share (X25519 and HKDF), and sealing for one of them (ChaCha20-Poly1305).

All of it is the library `cryptography`; this module fixes which parts are used, and for what. An identity lasts; its public half is
known to all beforehand. Agreements are made anew for each round. A key that is derived from one is bound to its purpose, the round, and
both public keys with their owners' numbers, so that it is of no use anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import BadInput, NotAuthorised

KEY_BYTES = 32
SIGNATURE_BYTES = 64
TAG_BYTES = 16
MASK, CHANNEL = b"pairwise mask", b"channel"
_LABEL = b"stillhouse secure aggregation v1: "
# Each sealing key is used for one message only, so a fixed nonce is never used twice with it.
_NONCE = bytes(12)


class Identity:
    """A lasting signing key of a silo or a server. Its private half is never shown, except by `to_bytes` to be kept on disk."""

    def __init__(self, private: bytes) -> None:
        _of_length(private)
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    @classmethod
    def new(cls) -> Identity:
        """A fresh one, from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    def to_bytes(self) -> bytes:
        """The private half, 32 bytes: keep it where only its owner reads."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message)


class Verifier:
    """Checks signatures by one public key, which is parsed once."""

    def __init__(self, public: bytes) -> None:
        _of_length(public)
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise BadInput("these bytes are no Ed25519 public key") from None

    def check(self, signature: bytes, message: bytes) -> None:
        """Nothing, if the signature is this key's.

        Raises:
            NotAuthorised: it is not.
        """
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise NotAuthorised(
                "a message's signature is wrong", why="it was altered, or somebody else sent it"
            ) from None


class Agreement:
    """One side of a key agreement, for one round."""

    def __init__(self, private: bytes) -> None:
        _of_length(private)
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.private, self.public = private, self._key.public_key().public_bytes_raw()

    @classmethod
    def new(cls) -> Agreement:
        """A fresh one, from the operating system's randomness."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    def derive(self, peer: bytes, *, purpose: bytes, round_id: bytes, own: int, other: int) -> Callable[[bytes], bytes]:
        """What this side and a peer share, as a function of a further label; members are given by number.

        Raises:
            NotAuthorised: the peer's key is one of the few that would make the shared secret known to all.
        """
        _of_length(peer)
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError:
            raise NotAuthorised(
                f"the key of member {other} is of low order", why="with it nothing would be secret"
            ) from None
        ends = sorted(((own, self.public), (other, peer)))
        context = round_id + b"".join(number.to_bytes(4, "big") + key for number, key in ends)

        def labelled(label: bytes) -> bytes:
            info = _LABEL + purpose + b"\0" + context + label
            return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(shared)

        return labelled


def seal(key: bytes, plain: bytes, context: bytes) -> bytes:
    """Encrypted and authenticated, together with a context that both sides know; 16 bytes longer. A key seals one message."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """What was sealed.

    Raises:
        NotAuthorised: it was altered, or sealed for somebody else or another occasion.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, context)
    except InvalidTag:
        raise NotAuthorised(
            "a sealed message does not open", why="it was altered or is meant for somebody else"
        ) from None


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 of a label and parts, each with its length before it, so that no two lists of parts give the same text."""
    whole = hashes.Hash(hashes.SHA256())
    whole.update(_LABEL)
    for part in (label, *parts):
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.finalize()


def _of_length(key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise BadInput(f"a key has {KEY_BYTES} bytes")
