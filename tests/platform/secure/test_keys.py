"""Keys: published vectors, what binds them, and what they refuse."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from stillhouse.platform.errors import BadInput, NotAuthorised
from stillhouse.platform.secure.keys import CHANNEL, MASK, Agreement, Identity, Verifier, digest, seal, unseal

ROUND = b"r" * 32


def test_identity_is_ed25519_of_rfc_8032() -> None:
    """Section 7.1, test 1: the empty message."""
    identity = Identity(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert identity.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = identity.sign(b"")
    assert signature.hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    Verifier(identity.public).check(signature, b"")
    for wrong, message in ((signature, b"x"), (bytes(64), b""), (signature[:-1], b"")):
        with pytest.raises(NotAuthorised):
            Verifier(identity.public).check(wrong, message)
    assert Identity(identity.to_bytes()).public == identity.public


def test_agreement_is_x25519_of_rfc_7748_and_hkdf_of_rfc_5869() -> None:
    """The key pairs and shared secret of RFC 7748, section 6.1; the derivation is done again by HMAC."""
    alice = Agreement(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    bob = Agreement(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    ends = (3).to_bytes(4, "big") + alice.public + (8).to_bytes(4, "big") + bob.public
    info = b"stillhouse secure aggregation v1: " + MASK + b"\0" + ROUND + ends + b"label"
    extracted = hmac.new(bytes(32), shared, hashlib.sha256).digest()
    expected = hmac.new(extracted, info + b"\1", hashlib.sha256).digest()
    ours = alice.derive(bob.public, purpose=MASK, round_id=ROUND, own=3, other=8)(b"label")
    theirs = bob.derive(alice.public, purpose=MASK, round_id=ROUND, own=8, other=3)(b"label")
    assert ours == theirs == expected


def test_a_derived_key_is_bound_to_everything() -> None:
    one, two, three = Agreement.new(), Agreement.new(), Agreement.new()

    def derive(
        peer: bytes = two.public,
        purpose: bytes = MASK,
        round_id: bytes = ROUND,
        own: int = 1,
        other: int = 2,
        label: bytes = b"",
    ) -> bytes:
        return one.derive(peer, purpose=purpose, round_id=round_id, own=own, other=other)(label)

    others = [
        derive(peer=three.public), derive(purpose=CHANNEL), derive(round_id=bytes(32)), derive(own=3), derive(other=3),
        derive(label=b"x"), derive(own=2, other=1),
    ]  # fmt: skip
    assert len({derive(), *others}) == 8


def test_a_public_key_of_low_order_is_refused() -> None:
    for point in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(NotAuthorised, match="low order"):
            Agreement.new().derive(point, purpose=MASK, round_id=ROUND, own=1, other=2)


def test_a_seal_opens_for_its_key_and_context_only() -> None:
    key = b"k" * 32
    sealed = seal(key, b"share", b"context")
    assert unseal(key, sealed, b"context") == b"share" and len(sealed) == 5 + 16
    for k, s, c in (
        (b"l" * 32, sealed, b"context"), (key, sealed, b"other"), (key, sealed[:-1], b"context"), (key, b"", b"context"),
        (key, bytes([sealed[0] ^ 1]) + sealed[1:], b"context"),
    ):  # fmt: skip
        with pytest.raises(NotAuthorised):
            unseal(k, s, c)


def test_digests_of_different_lists_differ() -> None:
    assert (
        len(
            {
                digest(b"a", b"bc"),
                digest(b"ab", b"c"),
                digest(b"a", b"b", b"c"),
                digest(b"abc"),
                digest(b"a", b"bc", b""),
            }
        )
        == 5
    )


def test_keys_of_other_lengths_are_refused() -> None:
    for make in (Identity, Verifier, Agreement):
        with pytest.raises(BadInput):
            make(bytes(31))
