"""TLS and mutual TLS, with an authority made here; and what is refused without them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from stillhouse.platform.aggregator.client import OfficerClient
from stillhouse.platform.aggregator.config import ServerConfig, TlsFiles, is_loopback, split_address
from stillhouse.platform.aggregator.tls import client_credentials, server_credentials
from stillhouse.platform.errors import BadInput, ConfigError, NotAuthorised, Unreachable
from support.aggregator import Served, served, set_up

pytest.importorskip("cryptography")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    cert: Path
    key: Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {folder.name}")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.BasicConstraints(ca=False, path_length=None))
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, constraints: x509.BasicConstraints
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "theirs")


def epsilon(server: Served, **files: Path) -> float:
    with OfficerClient(server.endpoint("olga", **files)) as officer:
        return officer.budget().epsilon


class TestTls:
    def test_calls_go_through_tls_and_only_to_a_trusted_server(
        self, tmp_path: Path, ours: Authority, theirs: Authority
    ):
        pair = ours.issue("server")
        with served(tmp_path, tls=TlsFiles(pair.cert, pair.key)) as server:
            assert epsilon(server, ca=ours.file) == 50
            with pytest.raises(Unreachable):
                epsilon(server, ca=theirs.file)
            with pytest.raises(Unreachable):
                epsilon(server)

    def test_mutual_tls_wants_a_certificate_of_its_authority(self, tmp_path: Path, ours: Authority, theirs: Authority):
        pair, client, other = ours.issue("server"), ours.issue("client"), theirs.issue("client")
        with served(tmp_path, tls=TlsFiles(pair.cert, pair.key, ours.file)) as server:
            assert epsilon(server, ca=ours.file, cert=client.cert, key=client.key) == 50
            with pytest.raises(Unreachable):
                epsilon(server, ca=ours.file)
            with pytest.raises(Unreachable):
                epsilon(server, ca=ours.file, cert=other.cert, key=other.key)

    def test_a_certificate_does_not_replace_a_token(self, tmp_path: Path, ours: Authority):
        pair, client = ours.issue("server"), ours.issue("client")
        files = {"ca": ours.file, "cert": client.cert, "key": client.key}
        with served(tmp_path, tls=TlsFiles(pair.cert, pair.key, ours.file)) as server:
            stranger = Served(server.config, {"olga": "guess"}, server.address)
            with pytest.raises(NotAuthorised):
                epsilon(stranger, **files)

    def test_all_addresses_are_served_with_tls(self, tmp_path: Path, ours: Authority):
        pair = ours.issue("server")
        with served(tmp_path, address="0.0.0.0:0", tls=TlsFiles(pair.cert, pair.key)) as server:
            local = Served(server.config, server.secrets, server.address.replace("0.0.0.0", "127.0.0.1"))
            assert epsilon(local, ca=ours.file) == 50


class TestFiles:
    def test_a_key_of_another_certificate(self, ours: Authority):
        one, other = ours.issue("one"), ours.issue("other")
        with pytest.raises(BadInput, match="not a certificate and its key"):
            server_credentials(TlsFiles(one.cert, other.key))
        with pytest.raises(BadInput, match="not a certificate and its key"):
            client_credentials(ours.file, one.cert, other.key)

    def test_what_is_no_pem_file(self, tmp_path: Path, ours: Authority):
        junk, pair = tmp_path / "junk.pem", ours.issue("one")
        junk.write_text("no certificate")
        for files in (TlsFiles(junk, pair.key), TlsFiles(pair.cert, junk), TlsFiles(pair.cert, pair.key, junk)):
            with pytest.raises(BadInput):
                server_credentials(files)
        for ca in (junk, tmp_path / "absent.pem"):
            with pytest.raises(BadInput):
                client_credentials(ca, None, None)

    def test_absent_files_are_named_in_the_config(self, tmp_path: Path):
        with pytest.raises(ConfigError, match=r"absent\.pem"):
            set_up(tmp_path, tls=TlsFiles(tmp_path / "absent.pem", tmp_path / "absent.key"))


class TestWithoutTls:
    @pytest.mark.parametrize(
        "address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50051", "aggregator.example:1", "localhost.example:1"]
    )
    def test_other_addresses_are_refused_before_anything_starts(self, tmp_path: Path, address: str):
        with pytest.raises(BadInput, match="without TLS"):
            set_up(tmp_path, address=address)

    @pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.9.1:1", "[::1]:0", "localhost:0"])
    def test_loopback_is_loopback(self, address: str):
        assert is_loopback(address)

    @pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:70000", "host:-1", "::1:50051", "host:1x"])
    def test_addresses_that_cannot_be_read(self, address: str):
        with pytest.raises(BadInput, match="cannot be read"):
            split_address(address)


def test_all_problems_of_a_config_are_told_at_once(tmp_path: Path):
    with pytest.raises(ConfigError) as wrong:
        ServerConfig(
            address="0.0.0.0:1", dataset="", ensemble="e", silos=("a", "a"), classes=1, quorum=3, deadline_seconds=0,
            ledger_url="sqlite://", tokens=tmp_path,
        )  # fmt: skip
    assert len(wrong.value.problems) == 6


def test_metrics_outside_of_loopback_ask_for_a_certificate(tmp_path: Path, ours: Authority, theirs: Authority):
    pair, client, stranger = ours.issue("metrics"), ours.issue("prometheus"), theirs.issue("stranger")

    def get(shown: Pair | None) -> str:
        context = ssl.create_default_context(cafile=str(ours.file))
        if shown is not None:
            context.load_cert_chain(shown.cert, shown.key)
        address = f"https://127.0.0.1:{server.metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=10, context=context) as reply:
            return str(reply.read().decode())

    with served(tmp_path, metrics="0.0.0.0:0", tls=TlsFiles(pair.cert, pair.key, ours.file)) as server:
        assert "stillhouse_ledger_trusted" in get(client)
        for shown in (None, stranger):
            with pytest.raises(OSError):
                get(shown)
