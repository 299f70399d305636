# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""A real PACS on loopback: Orthanc with its DICOMweb plug-in, and a proxy before it that cuts connections."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import FileDataset

USER, PASSWORD = "radiology", "s3cret-word"
START_SECONDS, REQUEST_SECONDS, STOP_SECONDS = 600, 300, 60  # bounds, not times: a busy machine may need minutes
PLUGINS = (
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so",
)
# Drops the objects whose modality is in a file.
FILTER = """
function ReceivedInstanceFilter(dicom, origin, info)
  local file = io.open('FILE')
  if file == nil then return true end
  local refused = file:read('*l')
  file:close()
  return dicom.Modality ~= refused
end
"""


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """A server with an empty storage of its own; tests are skipped where the program or its plug-in is absent.

    Args:
        folder: for its storage, configuration and log.
    """

    def __init__(self, folder: Path) -> None:
        self.program = shutil.which("Orthanc")
        plugin = next((path for path in PLUGINS if Path(path).is_file()), None)
        if self.program is None or plugin is None:
            pytest.skip("Orthanc or its DICOMweb plug-in is not installed: apt-get install orthanc orthanc-dicomweb")
        self.folder, self.port = folder, free_port()
        self.log = folder / "orthanc.log"
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/dicom-web"
        settings = {
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [plugin],
            "LuaScripts": [str(folder / "filter.lua")],
        }
        self._refused = folder / "refused.txt"
        (folder / "filter.lua").write_text(FILTER.replace("FILE", str(self._refused)), encoding="utf-8")
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        self._session = requests.Session()
        self._session.auth = (USER.encode(), PASSWORD.encode())
        self._session.trust_env = False
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: with the log, when it ends or does not answer in time.
        """
        with self.log.open("a") as out:
            command = [str(self.program), str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self._session.get(f"{self.url}/studies", timeout=REQUEST_SECONDS).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"Orthanc did not start.\n{self.tail()}")

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """End it at once, as a machine that loses its power."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it, by force where it does not end by itself."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        answer = self._session.request(method, f"{self.root}{path}", timeout=REQUEST_SECONDS, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}\n{self.tail()}"
        return answer

    def put(self, folder: Path) -> None:
        """Store the objects of a folder, by Orthanc's own interface."""
        for path in sorted(folder.rglob("*.dcm")):
            self._request("POST", "/instances", data=path.read_bytes())

    def objects(self, study: str) -> dict[str, str]:
        """Orthanc's own name of each object of a study, by its SOP Instance UID; not by DICOMweb."""
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study}}
        found = self._request("POST", "/tools/find", json=query).json()
        return {item["MainDicomTags"]["SOPInstanceUID"]: item["ID"] for item in found}

    def file(self, name: str) -> FileDataset:
        """An object as it is stored."""
        return dcmread(BytesIO(self._request("GET", f"/instances/{name}/file").content))

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._request("DELETE", f"/instances/{name}")

    def query(self, path: str) -> list[dict[str, Any]]:
        """Answer of a search by DICOMweb."""
        return self._request("GET", f"/dicom-web/{path}", headers={"Accept": "application/dicom+json"}).json()

    def refuse(self, modality: str | None) -> None:
        """Let it drop objects of a modality from now on, or of none, by its own filter."""
        if modality is None:
            self._refused.unlink()
        else:
            self._refused.write_text(modality, encoding="ascii")


class CuttingProxy:
    """A proxy that cuts the first connection which carries a certain request.

    Args:
        port: of the server behind it, on loopback.
        marker: beginning of the request, such as ``b"POST "``.
        after: number of bytes that still pass.
        of_answer: whether those are counted in the answer and not in the request.
        gone: whether nothing passes any more after that.
        then: called when the connection is cut.
    """

    def __init__(
        self,
        port: int,
        marker: bytes,
        after: int,
        of_answer: bool = False,
        gone: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self.cut, self._gone = False, gone
        self._target, self._marker, self._after, self._of_answer, self._then = port, marker, after, of_answer, then
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/dicom-web"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:  # closed
                return
            if self.cut and self._gone:
                _close(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # the server is gone
                _close(client)
                continue
            armed = threading.Event()
            threading.Thread(target=self._pump, args=(client, server, armed, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, armed, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, armed: threading.Event, answers: bool) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                if not answers and not self.cut and self._marker in data:
                    armed.set()
                if armed.is_set() and answers is self._of_answer:
                    if passed + len(data) > self._after:
                        target.sendall(data[: self._after - passed])
                        self.cut = True
                        self._then()
                        return
                    passed += len(data)
                target.sendall(data)
        except OSError:  # the other side is closed
            return
        finally:
            _close(source)
            _close(target)


def _close(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
    except OSError:  # not connected any more
        pass
    finally:
        one.close()
