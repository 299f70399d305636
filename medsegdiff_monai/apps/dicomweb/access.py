# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import ipaddress
import os
import stat
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from requests import PreparedRequest

from medsegdiff_monai.utils import InputError

__all__ = ["Credentials", "check_url", "exposes_credentials", "read_credentials"]

_PREFIX = "MEDSEGDIFF_DICOMWEB_"
_KEYS = ("user", "password", "token")
_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH


def check_url(url: str) -> str:
    """Address of a DICOMweb service as the user gives it, without a slash at its end.

    Raises:
        InputError: when it is none or holds a user or password; it is not repeated, as a password may look like a host.
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


@dataclass(frozen=True)
class Credentials:
    """User and password (RFC 7617), a token (RFC 6750), or nothing; ``repr`` shows none of it.

    Called by requests, which else would look for a password in ``~/.netrc``.
    """

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return True  # requests would take what is false for absent

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return bool(self.user or self.token)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            encoded = b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
            request.headers["Authorization"] = f"Basic {encoded}"
        return request


def read_credentials(
    file: str | os.PathLike[str] | None = None, environment: Mapping[str, str] = os.environ
) -> Credentials:
    """Credentials from a file that its owner alone may read, or else from the environment.

    The file has the lines ``user = ...`` and ``password = ...``, or ``token = ...``, the environment the variables
    ``MEDSEGDIFF_DICOMWEB_USER``, ``_PASSWORD`` and ``_TOKEN``, or none of them. An :class:`InputError` quotes none.
    """
    if file is None:
        given = {key: environment.get(f"{_PREFIX}{key.upper()}", "") for key in _KEYS}
        where = f"The environment's {_PREFIX}* variables"
    else:
        given, where = _from_file(Path(file)), f"The file {file}"
    if given["token"] and (given["user"] or given["password"]):
        raise InputError(f"{where} hold a token and a user or password: give one or the other.")
    if bool(given["user"]) != bool(given["password"]):
        raise InputError(f"{where} hold a user or a password alone: give both.")
    # RFC 7617: a colon ends the user's name; RFC 9110: a header is one line.
    if ":" in given["user"] or not given["token"].isascii() or any(not v.isprintable() for v in given.values()):
        raise InputError(f"{where} hold characters that a user, password or token cannot have: write them again.")
    return Credentials(**given)


def _from_file(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as f:
            mode = os.fstat(f.fileno()).st_mode  # of what is read, not of what the name then stands for
            if mode & _READABLE_BY_OTHERS:
                raise InputError(f"The file {path} can be read by other users: take that away, with chmod 600 {path}.")
            lines = [line.strip() for line in f]
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is no text"
        raise InputError(f"Cannot read the credentials in {path} ({reason}): give another file.") from e
    given = dict.fromkeys(_KEYS, "")
    for number, line in enumerate(lines, start=1):
        key, separator, value = line.partition("=")
        if not line or line.startswith("#"):
            continue
        if not separator or key.strip() not in _KEYS:
            raise InputError(
                f"Line {number} of {path} is not understood: write user = ..., password = ... or token = ..."
            )
        given[key.strip()] = value.strip()
    if not any(given.values()):
        raise InputError(f"The file {path} holds no credentials: write user = ... and password = ..., or token = ...")
    return given
