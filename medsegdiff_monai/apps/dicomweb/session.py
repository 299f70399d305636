# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from medsegdiff_monai.apps.dicomweb.credentials import Credentials

__all__ = ["make_session"]


class _OnceMore(Retry):
    """Repeats a GET whose connection is closed before the answer, as one that was kept may be when it is used again."""

    def increment(self, *arguments: Any, **named: Any) -> _OnceMore:
        """See :class:`urllib3.util.Retry`; who waited in vain does not wait again."""
        error = named.get("error")
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(*arguments, **named)


def make_session(credentials: Credentials) -> requests.Session:
    """A session that sends credentials to the address that the user gave and to no other.

    Args:
        credentials: what lets this program in.
    """
    session = requests.Session()
    session.auth = credentials
    session.max_redirects = 0
    again = _OnceMore(
        total=1, connect=0, read=1, status=0, other=0, allowed_methods=["GET"], respect_retry_after_header=False
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    return session
