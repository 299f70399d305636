# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Services that answer without end: the answer is given up within the limits, in a sentence."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps.dicomweb.test_pacs import item, small_object
from urllib3.util import connection

from medsegdiff_monai.apps.dicomweb import Credentials, Limits, Pacs, PacsError, StoredSeries, exchange, pacs

STUDY = "1.2.3.87654321"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
PARTS = b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type="application/dicom"; boundary=x\r\n\r\n'
SERIES = StoredSeries("1.1", "US", {"1.1.1": "3.1"})
QUICK = Limits(max_time=0.5, max_size=0.001)
PAUSE = 0.05  # seconds between bytes that trickle: far below the timeout of 60 s, and endless


def endless(piece: bytes, pause: float = 0.0) -> Iterator[bytes]:
    while True:
        yield piece
        time.sleep(pause)


class Service:
    """A server that reads the head of a request and sends what it is told to, until the other side has enough."""

    def __init__(self, answer: Callable[[int], Iterable[bytes]], reads_first: bool = True) -> None:
        self.answer, self.reads_first, self.asked = answer, reads_first, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/dicom-web"

    def __enter__(self) -> Service:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:  # closed
                return
            number = self.asked
            self.asked += 1  # before it is answered
            threading.Thread(target=self._talk, args=(client, number), daemon=True).start()

    def _talk(self, client: socket.socket, number: int) -> None:
        with client:
            try:
                while self.reads_first and b"\r\n\r\n" not in client.recv(1 << 20):
                    pass
                for piece in self.answer(number):
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
                while client.recv(1 << 20):  # what else the request holds
                    pass
            except OSError:  # the other side has gone
                return


def ask(url: str, limits: Limits = QUICK) -> str:
    """What the listing of a study ends with."""
    with pytest.raises(PacsError) as e:
        Pacs(url, Credentials(), limits).series_of(STUDY)
    return str(e.value)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: itertools.chain([JSON + b"\r\n["], endless(b" " * 1000)),
        lambda: itertools.chain(
            [JSON + b"Transfer-Encoding: chunked\r\n\r\n"], endless(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        ),
        lambda: [JSON + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(10**7))],
    ],
    ids=["plain", "chunked", "gzip"],
)
def test_a_list_without_end_is_given_up(pieces: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_JSON_BYTES", 2 << 20)
    with Service(lambda _: pieces()) as service:
        said = ask(service.url, Limits())
    assert "sends more than 2 MB where a list is expected (asking for the study)" in said


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: itertools.chain([JSON + b"\r\n["], endless(b" ", PAUSE)),
        lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], endless(b"x", PAUSE)),
        lambda: endless(b"HTTP/1.1 100 Continue\r\n\r\n", PAUSE),
        lambda: itertools.chain([JSON + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"], endless(b"X: y\r\n", PAUSE)),
    ],
    ids=["content", "header", "continue", "trailer"],
)
def test_an_answer_that_trickles_is_given_up(pieces: Any) -> None:
    with Service(lambda _: pieces()) as service:
        said = ask(service.url)
    assert "took longer than 0.5 s (asking for the study): try later, or give a longer --max-time" in said


def test_a_tls_handshake_that_trickles_is_given_up() -> None:
    trickle = lambda _: itertools.chain([b"\x16\x03\x03\x40\x00"], endless(b"\x02", PAUSE))  # noqa: E731
    with Service(trickle, reads_first=False) as service:
        assert "took longer than 0.5 s" in ask(service.url.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("begin", "sentence"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n", "sends on to another address"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "refuses the request (500)"),
        (JSON + b"Content-Encoding: gzip, gzip\r\n\r\n", "is not DICOMweb"),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\n", "PACS"),  # an endless number of bytes to come
    ],
    ids=["redirect", "error", "packed twice", "chunk size"],
)
def test_what_need_not_be_read_is_not_read(begin: bytes, sentence: str) -> None:
    with Service(lambda _: itertools.chain([begin], endless(b"1" * 1000))) as service:
        assert sentence in ask(service.url, Limits())
        assert service.asked == 1


@pytest.mark.parametrize("size", [1, 150])
def test_pages_without_end_are_given_up(size: int) -> None:
    def page(number: int) -> list[bytes]:
        items = [item(t0020000D=STUDY)] if not number else [item(t0020000E=f"1.{number}.{i}") for i in range(size)]
        return [JSON + b"\r\n" + json.dumps(items).encode()]

    with Service(page) as service:
        said = ask(service.url, Limits())
        assert service.asked < 250
    assert "lists more than 20000 objects or 200 pages (listing the study)" in said


def test_pages_share_one_limit_of_time() -> None:
    def page(number: int) -> Iterator[bytes]:
        time.sleep(PAUSE if number else 0)
        yield JSON + b"\r\n" + json.dumps([item(t0020000D=STUDY), item(t0020000E=f"1.{number}")]).encode()

    with Service(page) as service:
        assert "took longer than 0.5 s (listing the study)" in ask(service.url)


def retrieve(pieces: Callable[[], Iterable[bytes]], folder: Path, limits: Limits) -> str:
    """What retrieving a series ends with."""
    with Service(lambda _: pieces()) as service, pytest.raises(PacsError) as e:
        Pacs(service.url, Credentials(), limits).retrieve(STUDY, [SERIES], folder)
    return str(e.value)


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.dcm"))


def test_an_object_without_end_is_given_up_at_the_size_that_is_allowed(tmp_path: Path) -> None:
    said = retrieve(
        lambda: itertools.chain([PARTS, b"--x\r\n\r\n"], endless(bytes(1000))), tmp_path, Limits(max_size=0.001)
    )
    assert "sends more than 0.001 GB for one study (retrieving the images): give a larger --max-size" in said
    assert written(tmp_path) <= 10**6


def test_objects_without_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs, "_OBJECTS", 50)
    small_object("1.1.1").save_as(tmp_path / "one.dcm", enforce_file_format=True)
    part = b"--x\r\n\r\n" + (tmp_path / "one.dcm").read_bytes() + b"\r\n"
    assert "more than 50 objects" in retrieve(lambda: itertools.chain([PARTS], endless(part)), tmp_path, Limits())


@pytest.mark.parametrize("before", [b"", b"--x\r\n"], ids=["preamble", "header"])
def test_what_comes_before_an_object_is_bounded(before: bytes, tmp_path: Path) -> None:
    said = retrieve(lambda: itertools.chain([PARTS, before], endless(b"X: y\r\n" * 100)), tmp_path, QUICK)
    assert "sends more than" in said or "is not DICOMweb" in said
    assert written(tmp_path) == 0


def test_an_object_that_trickles_is_given_up(tmp_path: Path) -> None:
    said = retrieve(lambda: itertools.chain([PARTS, b"--x\r\n\r\n"], endless(b"a", PAUSE)), tmp_path, QUICK)
    assert "took longer than 0.5 s (retrieving the images)" in said


def test_what_is_said_of_a_store_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_JSON_BYTES", 2 << 20)
    with (
        Service(lambda _: itertools.chain([JSON + b"\r\n{"], endless(b" " * 1000))) as service,
        pytest.raises(PacsError, match=r"sends more than 2 MB .*\(storing the results\)"),
    ):
        Pacs(service.url, Credentials(), Limits()).store(STUDY, {"1.1.1": small_object("1.1.1")})


def test_a_series_that_names_another_resource_leads_nowhere_else(tmp_path: Path) -> None:
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            with listener.accept()[0] as client:
                heads.append(client.recv(1 << 16))

        thread = threading.Thread(target=once)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web"
        with pytest.raises(PacsError):
            Pacs(url, Credentials(), Limits()).retrieve(STUDY, [StoredSeries("../../x?y#z", "US", {})], tmp_path)
        thread.join()
    assert heads[0].split(b" ")[1] == f"/dicom-web/studies/{STUDY}/series/..%2F..%2Fx%3Fy%23z".encode()


def test_a_connection_that_is_made_after_the_time_is_over_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    create = connection.create_connection

    def late(*arguments: Any, **named: Any) -> socket.socket:
        time.sleep(2 * QUICK.max_time)
        return create(*arguments, **named)

    monkeypatch.setattr(connection, "create_connection", late)
    began = time.monotonic()
    with Service(lambda _: itertools.islice(endless(b"HTTP/1.1 100 Continue\r\n\r\n", PAUSE), 200)) as service:
        assert "took longer than 0.5 s" in ask(service.url)
    assert time.monotonic() - began < 5.0


def test_nothing_is_asked_once_the_time_is_over() -> None:
    with Service(lambda _: [JSON + b"\r\n[]"]) as service, pytest.raises(exchange.LimitError):
        exchange.Exchange(service.url, Credentials(), Limits()).listing("studies", deadline=time.monotonic() - 1.0)
    assert service.asked == 0
