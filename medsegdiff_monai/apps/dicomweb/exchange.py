# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from medsegdiff_monai.apps.dicomweb.credentials import Credentials
from medsegdiff_monai.apps.dicomweb.errors import LimitError
from medsegdiff_monai.apps.dicomweb.session import TimeOverError, open_session

__all__ = ["GIGABYTE", "Answer", "Exchange", "Limits"]

GIGABYTE = 10**9
_JSON_BYTES = 32 * 2**20
_PIECE = 1 << 14  # bytes of an answer at a time; unpacked, they are up to a thousand times as many
_ENCODINGS = ("", "identity", "gzip", "deflate")
_JSON = "application/dicom+json, application/json"


@dataclass(frozen=True)
class Limits:
    """What a PACS may take and send.

    Attributes:
        timeout: longest wait for a connection and for data, in seconds.
        max_time: longest time of a request, or of all those for one listing, in seconds.
        max_size: largest size of the images of a study, in gigabytes.
    """

    timeout: float = 60.0
    max_time: float = 600.0
    max_size: float = 4.0


class Answer:
    """An answer of a PACS, which is read piece by piece and no further than allowed."""

    def __init__(self, response: requests.Response) -> None:
        self.status, self.content_type = response.status_code, response.headers.get("Content-Type", "")
        self._response = response

    def pieces(self, limit: float, refusal: LimitError) -> Iterator[bytes]:
        """The content, unpacked.

        Args:
            limit: number of bytes that it may have.
            refusal: raised where it has more.
        """
        if self._response.headers.get("Content-Encoding", "").strip().lower() not in _ENCODINGS:
            raise ValueError("The answer is packed in a way that was not asked for.")
        received = 0
        while piece := self._response.raw.read(_PIECE, decode_content=True):
            received += len(piece)
            if received > limit:
                raise refusal
            yield piece

    def json(self) -> Any:
        """The content as JSON; None where there is none."""
        refusal = LimitError(f"sends more than {_JSON_BYTES >> 20} MB where a list is expected", "see its log")
        content = b"".join(self.pieces(_JSON_BYTES, refusal))
        return json.loads(content) if content.strip() else None


class Exchange:
    """Requests to a DICOMweb service and its answers, within limits.

    Args:
        url: address of the service.
        credentials: what lets this program in.
        limits: what the service may take and send.
    """

    def __init__(self, url: str, credentials: Credentials, limits: Limits) -> None:
        self.url, self.limits = url, limits
        self._credentials = credentials

    def deadline(self) -> float:
        """The moment, of :func:`time.monotonic`, at which a request that begins now has to have ended."""
        return time.monotonic() + self.limits.max_time

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        accept: str = _JSON,
        params: Mapping[str, Any] | None = None,
        body: tuple[bytes, str] | None = None,
        deadline: float | None = None,
        expected: tuple[int, ...] = (),
    ) -> Iterator[Answer]:
        """Ask, with a connection of its own.

        Args:
            method: of HTTP.
            path: path below the address of the service.
            accept: media types that the answer may have.
            params: the query.
            body: what is sent, and its media type. It is sent with its length, whose end a service knows.
            deadline: see :meth:`deadline`; None for that of a request that begins now.
            expected: further statuses than those of success that have an answer.

        Raises:
            LimitError: when the time is over.
            requests.RequestException: when there is no answer, or a status is not one that is expected.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        content, kind = (None, None) if body is None else (io.BytesIO(body[0]), body[1])
        if kind is not None:
            headers["Content-Type"] = kind
        seconds = (self.deadline() if deadline is None else deadline) - time.monotonic()
        options: dict[str, Any] = {"headers": headers, "params": params, "data": content, "stream": True}
        try:
            with open_session(self._credentials, seconds) as session:
                wait = self.limits.timeout
                with session.request(method, f"{self.url}/{path}", timeout=wait, **options) as response:
                    if response.status_code not in expected:
                        _check_status(response)
                    yield Answer(response)
        except TimeOverError as e:
            text = f"took longer than {self.limits.max_time:g} s"
            raise LimitError(text, "try later, or give a longer --max-time", gone=True) from e

    def listing(self, path: str, params: Mapping[str, Any] | None = None, deadline: float | None = None) -> list[Any]:
        """The objects of DICOM JSON (PS3.18 F) in the answer to a question."""
        with self.request("GET", path, params=params, deadline=deadline) as answer:
            content = answer.json()
        return [] if content is None else [content] if isinstance(content, dict) else list(content)


def _check_status(response: requests.Response) -> None:
    if 300 <= response.status_code < 400:
        raise requests.TooManyRedirects(response=response)
    response.raise_for_status()
