# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["check_levels", "per_level"]


def per_level(value: Sequence[int] | int, levels: int) -> tuple[int, ...]:
    """One number for each level, from such a sequence or from one number for all."""
    return (value,) * levels if isinstance(value, int) else tuple(value)


def check_levels(channels: tuple[int, ...], settings: Mapping[str, tuple], minimum: Mapping[str, int]) -> None:
    """Check the settings of a network that have one entry for each level.

    Args:
        channels: number of channels of each level.
        settings: the settings by name.
        minimum: least value of an entry, for those settings that have one.

    Raises:
        ValueError: when one has another number of entries or an entry is too small.
    """
    for name, values in settings.items():
        if len(values) != len(channels):
            raise ValueError(
                f"{name} must have one entry for each entry of channels, got {name}={values} for channels={channels}."
            )
        if name in minimum and min(values) < minimum[name]:
            raise ValueError(f"{name} must not be less than {minimum[name]}, got {values}.")
