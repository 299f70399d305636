# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from medsegdiff_monai.utils import InputError

__all__ = ["check_url", "exposes_credentials"]


def check_url(url: str) -> str:
    """The address of a DICOMweb service, without a slash at its end.

    Args:
        url: address as the user gives it.

    Raises:
        InputError: when it is no address of a web service, or holds a user's name or a password; the sentence never
            repeats it, for a password with a forgotten ``@`` looks like a host.
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises where it is no number
    except ValueError as e:
        raise InputError("--url is no address: give one such as http://127.0.0.1:8042/dicom-web.") from e
    if "@" in url:
        raise InputError(
            "--url must not hold a user name or password, which other users of this machine could read: set "
            "MEDSEGDIFF_DICOMWEB_USER and MEDSEGDIFF_DICOMWEB_PASSWORD, or give --credentials FILE."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("--url must begin with http:// or https:// and a host, as http://127.0.0.1:8042/dicom-web.")
    if parts.query or parts.fragment:
        raise InputError("--url must end with the path of the DICOMweb service: leave out what follows ? or #.")
    return url.strip().rstrip("/")


def exposes_credentials(url: str) -> bool:
    """Whether credentials sent to an address can be read on the way: plain http to another machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:  # a name
        return True
