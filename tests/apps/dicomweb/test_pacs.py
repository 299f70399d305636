# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicomweb import Credentials, Limits, Pacs, PacsError, StoredSeries
from medsegdiff_monai.apps.dicomweb.exchange import Exchange
from medsegdiff_monai.utils import InputError

STUDY, SECRET = "1.2.3.87654321", "geheim"
Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/dicom+json"}


class Service:
    """A web service that answers as a test says and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Answer] = lambda path: (500, {}, b"")
        self.asked: list[tuple[str, dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.asked.append((self.path, dict(self.headers)))
                status, headers, body = service.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Nothing: the test's output is not for it."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Nothing: who has seen the status may close the connection."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def pacs(service: Service) -> Pacs:
    return Pacs(service.url, Credentials("anna", SECRET), Limits())


def item(**values: object) -> dict[str, object]:
    """An object in DICOM JSON, from tags without their zero at the beginning."""
    return {tag.removeprefix("t"): {"vr": "UI", "Value": [value]} for tag, value in values.items()}


@pytest.mark.parametrize(
    ("answer", "fragment"),
    [
        ((401, {}, b""), "refuses the credentials (401): check them"),
        ((403, {}, b""), "does not allow this (403): ask its administrator"),
        ((404, {}, b""), "does not have it (404): check --url and --study"),
        ((500, {}, SECRET.encode()), "refuses the request (500): see its log (asking for the study)"),
        ((503, {}, b""), "refuses the request (503)"),
        ((302, {"Location": "http://127.0.0.1:9/login"}, b""), "sends on to another address: give that as --url"),
        ((200, {"Content-Type": "text/html"}, b"<html>geheim</html>"), "is not DICOMweb: give as --url"),
        ((200, JSON, b'["7a13d09e"]'), "is not DICOMweb: give as --url"),
        ((200, JSON, b"17"), "is not DICOMweb: give as --url"),
        ((200, JSON, b"[]"), "The PACS has no study ...87654321: check --study"),
        ((204, {}, b""), "The PACS has no study ...87654321: check --study"),
        ((200, JSON, json.dumps([item(t0020000D="1.2.3.9")]).encode()), "The PACS has no study ...87654321"),
    ],
)
def test_each_answer_has_its_sentence(service: Service, pacs: Pacs, answer: Answer, fragment: str) -> None:
    service.answer = lambda _: answer
    with pytest.raises(PacsError) as e:
        pacs.series_of(STUDY)
    assert fragment in str(e.value)
    assert str(e.value)[0].isupper()
    assert not [word for word in (SECRET, "anna", STUDY) if word in str(e.value)]
    assert len(service.asked) == 1  # nothing is asked twice, and no other address follows


def test_an_empty_study_is_told(service: Service, pacs: Pacs) -> None:
    listed = json.dumps([item(t0020000D=STUDY)]).encode()
    service.answer = lambda path: (200, JSON, listed if urlsplit(path).path.endswith("/studies") else b"[]")
    with pytest.raises(PacsError, match=r"The study \.\.\.87654321 is empty"):
        pacs.series_of(STUDY)


@pytest.mark.parametrize("limit", [2, 100])
@pytest.mark.parametrize("knows_offset", [True, False])
def test_a_study_is_listed_page_by_page(service: Service, pacs: Pacs, limit: int, knows_offset: bool) -> None:
    series = [item(t0020000E=f"1.{i}", t00080060="US") for i in range(3)]
    instances = [item(t0020000E=f"1.{i % 3}", t00080018=f"2.{i}", t00080016=f"3.{i}") for i in range(5)]

    def answer(path: str) -> Answer:
        kind = urlsplit(path).path.rsplit("/", 1)[1]
        items = {"studies": [item(t0020000D=STUDY)], "series": series, "instances": instances}[kind]
        begin = int(parse_qs(urlsplit(path).query).get("offset", ["0"])[0]) if knows_offset else 0
        return 200, JSON, json.dumps(items[begin : begin + limit] if knows_offset else items).encode()

    service.answer = answer
    assert pacs.series_of(STUDY) == {
        "1.0": StoredSeries("1.0", "US", {"2.0": "3.0", "2.3": "3.3"}),
        "1.1": StoredSeries("1.1", "US", {"2.1": "3.1", "2.4": "3.4"}),
        "1.2": StoredSeries("1.2", "US", {"2.2": "3.2"}),
    }
    host = service.url.split("/")[2]
    assert {headers["Host"] for _, headers in service.asked} == {host}  # with its port


def test_damaged_values_of_a_header_are_left_out(service: Service, pacs: Pacs) -> None:
    content = {
        "0008103E": {"vr": "LO", "Value": ["ax T1"]},
        "00200011": {"vr": "IS", "Value": ["third"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "http://127.0.0.1:9/pixels"},
    }
    service.answer = lambda _: (200, JSON, json.dumps([content]).encode())
    header = pacs.header(STUDY, "1.1", "1.1.1")
    assert header.SeriesDescription == "ax T1"
    assert "SeriesNumber" not in header
    assert not header.get("PixelData")


def small_object(uid: str) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.7", uid, "1.1"
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, uid
    return ds


def test_fewer_objects_than_are_listed_are_told(service: Service, pacs: Pacs, tmp_path: Path) -> None:
    small_object("1.1.1").save_as(tmp_path / "one.dcm", enforce_file_format=True)
    body = b"\r\n--x\r\nContent-Type: application/dicom\r\n\r\n" + (tmp_path / "one.dcm").read_bytes() + b"\r\n--x--"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    service.answer = lambda _: (200, kind, body)
    (tmp_path / "in").mkdir()
    series = StoredSeries("1.1", "US", {"1.1.1": "", "1.1.2": ""})
    with pytest.raises(PacsError, match="The PACS sent 1 of the 2 objects of series"):
        pacs.retrieve(STUDY, [series], tmp_path / "in")
    del series.instances["1.1.2"]
    (tmp_path / "again").mkdir()
    assert pacs.retrieve(STUDY, [series], tmp_path / "again") == 1
    assert [p.relative_to(tmp_path).as_posix() for p in (tmp_path / "again").rglob("*.dcm")] == [
        "again/series_1/00001.dcm"
    ]
    assert "transfer-syntax=*" in service.asked[-1][1]["Accept"]


@pytest.mark.parametrize("status", [200, 202, 409])
def test_refused_objects_are_counted_with_the_reasons_codes(service: Service, pacs: Pacs, status: int) -> None:
    refused = [{**item(t00081155=uid), "00081197": {"vr": "US", "Value": [0x0122]}} for uid in ("1.1.1", "1.1.2")]
    answer = {"00081198": {"vr": "SQ", "Value": refused}}
    service.answer = lambda _: (status, JSON, json.dumps(answer).encode())
    with pytest.raises(PacsError, match=r"refuses 2 of 3 objects \(failure reason 0122H\): see its log"):
        pacs.store(STUDY, {uid: small_object(uid) for uid in ("1.1.1", "1.1.2", "1.1.3")})
    (path, headers) = service.asked[0]
    assert path == f"/dicom-web/studies/{STUDY}"
    assert int(headers["Content-Length"]) > 0  # the PACS knows how much is to come
    assert "Transfer-Encoding" not in headers


def test_a_request_that_is_too_large_is_told(service: Service, pacs: Pacs) -> None:
    service.answer = lambda _: (413, {}, b"")
    with pytest.raises(PacsError, match=r"takes no request of this size \(413\)"):
        pacs.store(STUDY, {"1.1.1": small_object("1.1.1")})


def test_a_service_without_delete_is_told(service: Service, pacs: Pacs) -> None:
    service.answer = lambda _: (405, {}, b"")
    with pytest.raises(PacsError, match=r"refuses the request \(405\)"):
        pacs.delete(STUDY, "1.1", "1.1.1")


def test_a_pacs_that_answers_nothing_in_time_is_gone(service: Service) -> None:
    waiting = threading.Event()

    def never(path: str) -> Answer:
        waiting.wait(60)
        return 200, JSON, b"[]"

    service.answer = never
    with pytest.raises(PacsError, match=r"did not answer within 0\.5 s \(asking for the study\)") as e:
        Pacs(service.url, Credentials(), Limits(timeout=0.5)).series_of(STUDY)
    waiting.set()
    assert e.value.gone


def test_a_full_disk_is_not_the_pacs_fault() -> None:
    with (
        pytest.raises(InputError, match=r"temporary folder \(No space left on device\)") as e,
        Exchange("", Credentials(), Limits()).errors(""),
    ):
        raise OSError(28, "No space left on device")
    assert not isinstance(e.value, PacsError)
