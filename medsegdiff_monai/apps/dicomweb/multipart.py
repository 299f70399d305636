# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterator
from email.message import Message
from itertools import count
from pathlib import Path

__all__ = ["join_parts", "save_parts"]

_LINE = b"\r\n"
_HEADER_BYTES = 1 << 14


def save_parts(pieces: Iterator[bytes], content_type: str, folder: Path) -> Iterator[Path]:
    """Write the parts of a multipart message (RFC 2046, 5.1) to files ``00001.dcm`` and so on, as they arrive.

    The file of each part that has arrived whole is yielded. A message that breaks off ends there.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_maintype() != "multipart" or not boundary:
        raise ValueError("The answer is no multipart message.")
    between = _LINE + b"--" + boundary.encode("latin-1")
    text = _Text(pieces)
    try:
        text.skip(between)
        for number in count(1):
            if text.starts_with(b"--"):
                return
            text.skip(_LINE + _LINE, _HEADER_BYTES)
            path = folder / f"{number:05d}.dcm"
            try:
                with path.open("wb") as file:
                    file.writelines(text.until(between))
            except EOFError:
                path.unlink()
                raise
            yield path
    except EOFError:
        return


class _Text:
    """A text that arrives in pieces, read up to marks that may lie across them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.buffer = pieces, bytearray(_LINE)  # the first boundary may be without

    def until(self, mark: bytes) -> Iterator[bytes]:
        """The text before a mark, which is taken as well."""
        while (at := self.buffer.find(mark)) < 0:
            sure = max(0, len(self.buffer) - len(mark) + 1)  # the mark may begin behind that
            yield self._take(sure)
            self._read()
        yield self._take(at)
        self._take(len(mark))

    def skip(self, mark: bytes, limit: int | None = None) -> None:
        """Take all up to a mark, and it; a ValueError where more bytes than the limit come before it."""
        taken = 0
        for content in self.until(mark):
            taken += len(content)
            if limit is not None and taken > limit:
                raise ValueError("The header of a part is too long.")

    def starts_with(self, mark: bytes) -> bool:
        """Whether a mark is next."""
        while len(self.buffer) < len(mark):
            self._read()
        return self.buffer.startswith(mark)

    def _read(self) -> None:
        piece = next(self.pieces, b"")
        if not piece:
            raise EOFError
        self.buffer += piece

    def _take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken


def join_parts(parts: list[bytes], boundary: str) -> bytes:
    """A multipart message of DICOM objects, with a boundary that is in none of them."""
    begin = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
    return b"".join(begin + part + _LINE for part in parts) + f"--{boundary}--\r\n".encode("ascii")
