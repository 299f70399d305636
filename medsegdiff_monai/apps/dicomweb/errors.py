# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError

from medsegdiff_monai.utils import InputError

__all__ = ["LimitError", "PacsError", "pacs_errors"]


class PacsError(InputError):
    """What went wrong between this program and the PACS, in one sentence without credentials or patient data.

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


@contextmanager
def pacs_errors(url: str, doing: str, timeout: float, authenticated: bool) -> Iterator[None]:
    """Turn whatever a request raises into a :class:`PacsError`, which does not quote the PACS's answer.

    ``doing`` is the purpose of the request, such as "asking for the study", and ``timeout`` its longest wait (seconds).
    """
    try:
        yield
    except InputError:
        raise
    except Exception as e:  # an answer that is no DICOMweb fails in more ways than can be listed
        raise _explained(e, url, doing, timeout, authenticated) from e


def _explained(error: Exception, url: str, doing: str, timeout: float, authenticated: bool) -> InputError:
    if isinstance(error, LimitError):
        return PacsError(f"The PACS at {url} {error.excess} ({doing}): {error.advice}.", error.gone)
    if isinstance(error, requests.exceptions.SSLError):
        return PacsError(
            f"There is no TLS connection to the PACS at {url} that can be trusted: check --url, or set "
            "REQUESTS_CA_BUNDLE to the file of the authority that signed its certificate.",
            gone=True,
        )
    if isinstance(error, (requests.Timeout, ReadTimeoutError)):
        return PacsError(
            f"The PACS at {url} did not answer within {timeout:g} s ({doing}): try later, or give a longer --timeout.",
            gone=True,
        )
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _refused(error.response.status_code, url, doing, authenticated)
    if isinstance(error, requests.TooManyRedirects):
        return PacsError(f"The PACS at {url} sends on to another address: give that as --url.")
    if isinstance(error, (requests.ConnectionError, HTTPError)) and not isinstance(error, DecodeError):
        return PacsError(
            f"The connection to the PACS at {url} failed ({doing}): check that it runs and that --url is right.",
            gone=True,
        )
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return InputError(
            f"Cannot write what the PACS sends to the temporary folder ({error.strerror}): free space or set TMPDIR."
        )
    return PacsError(
        f"The answer of the PACS at {url} is not DICOMweb: give as --url the address of its DICOMweb service, which "
        "often ends with /dicom-web."
    )


def _refused(status: int, url: str, doing: str, authenticated: bool) -> PacsError:
    """Meaning of an HTTP status other than success."""
    entry = (
        "refuses the credentials (401): check them"
        if authenticated
        else "asks for credentials (401): see MEDSEGDIFF_DICOMWEB_USER and --credentials in the help"
    )
    reasons = {
        401: entry,
        403: "does not allow this (403): ask its administrator for the right",
        404: "does not have it (404): check --url and --study",
        413: "takes no request of this size (413): raise its limit, or that of the web server before it",
    }
    return PacsError(
        f"The PACS at {url} {reasons.get(status, f'refuses the request ({status}): see its log')} ({doing})."
    )
