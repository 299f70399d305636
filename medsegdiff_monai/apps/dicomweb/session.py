# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from medsegdiff_monai.apps.dicomweb.credentials import Credentials

__all__ = ["TimeOverError", "open_session"]


class TimeOverError(Exception):
    """A request has taken all the time that it may."""


class _NoRedirects(requests.Session):
    """A session that hands on an answer that sends elsewhere; another would read all of it, whatever its size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: nothing is followed."""


class _Cuttable(HTTPAdapter):
    """Makes connections that another thread can end, also while a TLS handshake, a header or data trickles in."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[socket.socket] = []
        self.was_cut = False

    def get_connection_with_tls_context(self, *arguments: Any, **named: Any) -> Any:
        """See requests; the pool's connections are noted here."""
        pool = super().get_connection_with_tls_context(*arguments, **named)
        sockets = self.sockets

        class Noted(pool.ConnectionCls):  # type: ignore[name-defined]
            def _new_conn(self) -> socket.socket:
                made = super()._new_conn()
                sockets.append(made.dup())  # TLS takes the descriptor out of the other
                return made

        pool.ConnectionCls = Noted
        return pool

    def cut(self) -> None:
        """End all connections: who waits for one gets an error."""
        self.was_cut = True
        for one in self.sockets:
            with suppress(OSError):  # ended already
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        for one in self.sockets:
            one.close()


@contextmanager
def open_session(credentials: Credentials, seconds: float) -> Iterator[requests.Session]:
    """A session for one request, with credentials that go to the address that the user gave and to no other.

    Args:
        credentials: what lets this program in.
        seconds: time that all of it may take, whatever arrives meanwhile.

    Raises:
        TimeOverError: when the time is over before the block is.
    """
    adapter = _Cuttable()
    clock = Timer(max(seconds, 0.0), adapter.cut)
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
                raise TimeOverError from e
            raise
        finally:
            clock.cancel()
    if adapter.was_cut:  # what looked like the end of the answer was not
        raise TimeOverError
