# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, Timer
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError

from medsegdiff_monai.apps.dicomweb.access import Credentials
from medsegdiff_monai.utils import InputError

__all__ = ["GIGABYTE", "Answer", "Exchange", "LimitError", "Limits", "PacsError"]

GIGABYTE = 10**9
_JSON_BYTES = 32 * 2**20
_PIECE = 1 << 14  # bytes of an answer at a time; unpacked, they are up to a thousand times as many
_ENCODINGS = ("", "identity", "gzip", "deflate")
_JSON = "application/dicom+json, application/json"


@dataclass(frozen=True)
class Limits:
    """Time and size that a PACS may take."""

    timeout: float = 60.0  # longest wait for a connection and for data, in seconds
    max_time: float = 600.0  # longest time of a request, or of all those for one listing, in seconds
    max_size: float = 4.0  # largest size of the images of a study, in gigabytes


class PacsError(InputError):
    """A failure of the PACS or on the way to it, in one sentence without credentials or patient data.

    ``gone`` says that the PACS no longer answers, so that there is no use in asking it anything else.
    """

    def __init__(self, message: str, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class LimitError(Exception):
    """An answer that is more than is allowed: the excess, as "takes longer than 5 s", and what the user may do."""

    def __init__(self, excess: str, advice: str, gone: bool = False) -> None:
        super().__init__(excess)
        self.excess, self.advice, self.gone = excess, advice, gone


class Answer:
    """An answer of a PACS, read piece by piece and no further than allowed."""

    def __init__(self, response: requests.Response) -> None:
        self.status, self.content_type = response.status_code, response.headers.get("Content-Type", "")
        self._response = response

    def pieces(self, limit: float, refusal: LimitError) -> Iterator[bytes]:
        """The unpacked content; the refusal is raised where it has more bytes than the limit."""
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
    """Requests to a DICOMweb service and its answers, within limits."""

    def __init__(self, url: str, credentials: Credentials, limits: Limits) -> None:
        self.url, self.limits = url, limits
        self._credentials = credentials

    def deadline(self) -> float:
        """End of a request that begins now, as :func:`time.monotonic` counts."""
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
        """Ask for a path below the address of the service, with a connection of its own.

        A body is content and media type, sent with its length, whose end a service knows; the deadline is by default
        that of a request that begins now. Statuses other than success raise, but for the expected ones.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = io.BytesIO(body[0]), body[1]
        options: dict[str, Any] = {"headers": headers, "params": params, "data": content, "stream": True}
        seconds = (self.deadline() if deadline is None else deadline) - time.monotonic()
        excess = f"took longer than {self.limits.max_time:g} s"
        over = LimitError(excess, "try later, or give a longer --max-time", gone=True)
        with (
            _open_session(self._credentials, seconds, over) as session,
            session.request(method, f"{self.url}/{path}", timeout=self.limits.timeout, **options) as response,
        ):
            if response.status_code not in expected:
                if 300 <= response.status_code < 400:
                    raise requests.TooManyRedirects(response=response)
                response.raise_for_status()
            yield Answer(response)

    def listing(self, path: str, params: Mapping[str, Any] | None = None, deadline: float | None = None) -> list[Any]:
        """The objects of DICOM JSON (PS3.18 F) in the answer to a question."""
        with self.request("GET", path, params=params, deadline=deadline) as answer:
            content = answer.json()
        return [] if content is None else [content] if isinstance(content, dict) else list(content)

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn whatever requests for a purpose raise into a :class:`PacsError`, which does not quote the answer."""
        try:
            yield
        except InputError:
            raise
        except Exception as e:  # an answer that is no DICOMweb fails in more ways than can be listed
            raise self._explained(e, doing) from e

    def _explained(self, error: Exception, doing: str) -> InputError:
        pacs = f"PACS at {self.url}"
        if isinstance(error, LimitError):
            return PacsError(f"The {pacs} {error.excess} ({doing}): {error.advice}.", error.gone)
        if isinstance(error, requests.exceptions.SSLError):
            advice = "check --url, or set REQUESTS_CA_BUNDLE to the file of the authority that signed its certificate"
            return PacsError(f"There is no TLS connection to the {pacs} that can be trusted: {advice}.", gone=True)
        if isinstance(error, (requests.Timeout, ReadTimeoutError)):
            waited = f"{self.limits.timeout:g} s ({doing}): try later, or give a longer --timeout"
            return PacsError(f"The {pacs} did not answer within {waited}.", gone=True)
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return PacsError(f"The {pacs} {self._refusal(error.response.status_code)} ({doing}).")
        if isinstance(error, requests.TooManyRedirects):
            return PacsError(f"The {pacs} sends on to another address: give that as --url.")
        if isinstance(error, (requests.ConnectionError, HTTPError)) and not isinstance(error, DecodeError):
            advice = "check that it runs and that --url is right"
            return PacsError(f"The connection to the {pacs} failed ({doing}): {advice}.", gone=True)
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            where = f"the temporary folder ({error.strerror}): free space or set TMPDIR"
            return InputError(f"Cannot write what the PACS sends to {where}.")
        advice = "give as --url the address of its DICOMweb service, which often ends with /dicom-web"
        return PacsError(f"The answer of the {pacs} is not DICOMweb: {advice}.")

    def _refusal(self, status: int) -> str:
        """Meaning of an HTTP status other than success."""
        if status == 401 and self._credentials.given:
            return "refuses the credentials (401): check them"
        reasons = {
            401: "asks for credentials (401): see MEDSEGDIFF_DICOMWEB_USER and --credentials in the help",
            403: "does not allow this (403): ask its administrator for the right",
            404: "does not have it (404): check --url and --study",
            413: "takes no request of this size (413): raise its limit, or that of the web server before it",
        }
        return reasons.get(status, f"refuses the request ({status}): see its log")


class _NoRedirects(requests.Session):
    """A session that hands on an answer that sends elsewhere; another would read all of it, whatever its size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: nothing is followed."""


class _Cuttable(HTTPAdapter):
    """Makes connections that another thread can end, also while a TLS handshake, a header or data trickles in."""

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._sockets = Lock(), list[socket.socket]()
        self.was_cut = False

    def get_connection_with_tls_context(self, *arguments: Any, **named: Any) -> Any:
        """See requests; the pool's connections are noted here."""
        pool = super().get_connection_with_tls_context(*arguments, **named)
        note = self._note

        class Noted(pool.ConnectionCls):  # type: ignore[name-defined]
            def _new_conn(self) -> socket.socket:
                made = super()._new_conn()
                note(made.dup())  # TLS takes the descriptor out of the other
                return made

        pool.ConnectionCls = Noted
        return pool

    def _note(self, made: socket.socket) -> None:
        with self._lock:
            self._sockets.append(made)
            if self.was_cut:  # while it was being made
                made.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections, and those to come: who waits for one gets an error."""
        with self._lock:
            self.was_cut = True
            for connection in self._sockets:
                with suppress(OSError):  # ended already
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        for connection in self._sockets:
            connection.close()


@contextmanager
def _open_session(credentials: Credentials, seconds: float, over: LimitError) -> Iterator[requests.Session]:
    """A session for one request, with credentials that go to the address that the user gave and to no other.

    It ends with the error ``over`` once the seconds are, whatever arrives meanwhile.
    """
    if seconds <= 0:
        raise over
    adapter = _Cuttable()
    clock = Timer(seconds, adapter.cut)
    clock.daemon = True
    with _NoRedirects() as session:
        session.auth = credentials
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        clock.start()
        try:
            yield session
        except Exception as e:
            if adapter.was_cut:
                raise over from e
            raise
        finally:
            clock.cancel()
    if adapter.was_cut:  # what looked like the end of the answer was not
        raise over
