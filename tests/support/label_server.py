# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI Label's server as the tests run it, on a free port of the loopback interface."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

# Bounds, not times: a busy machine may need minutes for what takes seconds.
START_SECONDS = 900
REQUEST_SECONDS = 600
TASK_SECONDS = 1500


class LabelServer:
    """A running server.

    Args:
        app: folder of the app.
        studies: folder of the images, or address of a PACS.
        conf: settings of the app.
        log: file for what the server prints.
    """

    def __init__(self, app: Path, studies: Path | str, conf: dict[str, str], log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        arguments = [text for key, value in conf.items() for text in ("--conf", key, value)]
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app)]
        command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(port), *arguments]
        # Scores are made when a test asks for them.
        environment = {**os.environ, "MONAI_LABEL_AUTO_UPDATE_SCORING": "false", "OMP_NUM_THREADS": "1"}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: with the log, when it ends or does not answer in time.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if requests.get(f"{self.url}/info/", timeout=REQUEST_SECONDS).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.5)
        raise RuntimeError(f"The server did not start.\n{self.tail()}")

    def tail(self, lines: int = 80) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the server, by force where it does not end by itself."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """An answer of the server.

        Raises:
            AssertionError: with the log, when it is an error.
        """
        answer = requests.request(method, f"{self.url}{path}", timeout=REQUEST_SECONDS, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}\n{self.tail()}"
        return answer

    def infer(self, model: str, image: str, file: Path, **params: Any) -> Path:
        """The label that a model makes of an image of the data store, as a file."""
        options: Any = {"params": {"image": image, "output": "image"}, "data": {"params": json.dumps(params)}}
        file.write_bytes(self.request("POST", f"/infer/{model}", **options).content)
        return file

    def save_label(self, image: str, file: Path) -> None:
        """Save a final label of an image."""
        with file.open("rb") as content:
            self.request("PUT", "/datastore/label", params={"image": image}, files={"label": (file.name, content)})

    def next_image(self, strategy: str) -> dict[str, Any]:
        """What a strategy offers next."""
        return self.request("POST", f"/activelearning/{strategy}", json={}).json()

    def run_task(self, kind: str, name: str, **params: Any) -> dict[str, Any]:
        """Run a training or a scoring to its end.

        Raises:
            AssertionError: with the log, when it does not end well.
        """
        self.request("POST", f"/{kind}/{name}", json=params)
        end = time.monotonic() + TASK_SECONDS
        task: dict[str, Any] = {"status": "none"}
        while time.monotonic() < end:
            task = self.request("GET", f"/{kind}/").json()
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                break
            time.sleep(0.5)
        assert task["status"] == "DONE", f"{kind} {name}: {task['status']}\n{self.tail()}"
        return task
