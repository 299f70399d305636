# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutations that know nothing of a format: bits, runs of bytes, and numbers at the limits of their types."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["BYTE_MUTATORS", "Mutator", "limit_number", "overwritten"]

Mutator = Callable[[bytes, np.random.Generator], bytes]

_LIMITS = (0, 1, 2, 3, 7, 8, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_LARGE = (2**31, 2**40, 2**62, 2**64 - 1)
_HEADER = 512  # bytes in which most formats keep their numbers


def limit_number(rng: np.random.Generator, bits: int = 32) -> int:
    """A number that decoders may take wrongly: about 0, about the limits of types, or any other of ``bits`` bits."""
    if rng.random() < 0.2:
        return int(rng.integers(0, 2**bits))
    return int(rng.choice(_LIMITS)) % 2**bits


def overwritten(content: bytes, place: int, new: bytes) -> bytes:
    """Content with other bytes at a place, of the same length; what would stand beyond its end is cut."""
    return (content[:place] + new + content[place + len(new) :])[: len(content)]


def _place(content: bytes, rng: np.random.Generator) -> int:
    """A place in the content, every other time in its beginning."""
    end = min(len(content), _HEADER) if rng.random() < 0.5 else len(content)
    return int(rng.integers(0, max(end, 1)))


def _run(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """Beginning and end of a run of bytes, mostly a short one."""
    start = _place(content, rng)
    longest = 16 if rng.random() < 0.6 else max(len(content) // 3, 1)
    return start, min(start + int(rng.integers(1, longest + 1)), len(content))


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    """Turn over 1 to 20 bits."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 21))):
        changed[_place(content, rng)] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def overwrite_run(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a run with zeros, ones or noise."""
    start, end = _run(content, rng)
    noise = rng.bytes(end - start)
    return content[:start] + (noise, b"\0" * len(noise), b"\xff" * len(noise))[rng.integers(0, 3)] + content[end:]


def overwrite_number(content: bytes, rng: np.random.Generator) -> bytes:
    """Put a number of 2, 4 or 8 bytes in either order somewhere."""
    size = int(rng.choice((2, 4, 8)))
    number = limit_number(rng, 8 * size) if size < 8 else _LARGE[int(rng.integers(0, len(_LARGE)))]
    return overwritten(content, _place(content, rng), number.to_bytes(size, rng.choice(("little", "big"))))


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut the end off, at times all but nothing or all."""
    return content[: _place(content, rng)]


def delete_run(content: bytes, rng: np.random.Generator) -> bytes:
    """Take a run out."""
    start, end = _run(content, rng)
    return content[:start] + content[end:]


def duplicate_run(content: bytes, rng: np.random.Generator) -> bytes:
    """Repeat a run where it stands, or insert it at another place."""
    start, end = _run(content, rng)
    place = end if rng.random() < 0.5 else _place(content, rng)
    return content[:place] + content[start:end] + content[place:]


def insert_noise(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert bytes, at times before the beginning."""
    place = 0 if rng.random() < 0.1 else _place(content, rng)
    return content[:place] + rng.bytes(int(rng.integers(1, 64))) + content[place:]


BYTE_MUTATORS: tuple[Mutator, ...] = (
    flip_bits,
    overwrite_run,
    overwrite_number,
    truncate,
    delete_run,
    duplicate_run,
    insert_noise,
)
