# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medsegdiff_monai.utils import InputError, find_input_error

__all__ = ["bundle_files", "parsed", "read_bundle", "without_writers"]

_WRITERS = ("medsegdiff_monai.transforms.SaveSegmentationd", "medsegdiff_monai.transforms.SaveInvertedd")


def bundle_files(bundle: str | os.PathLike[str], overlay: str | None = None) -> list[Path]:
    """The files of a bundle's configuration for inference.

    Args:
        bundle: folder of the bundle.
        overlay: further file of its folder ``configs``, such as ``disc.json``.

    Raises:
        InputError: when there is no such bundle, or no such file in it.
    """
    folder = Path(str(bundle))
    files = [folder / "configs" / name for name in ("inference.json", *([] if overlay is None else [overlay]))]
    if not (files[0].is_file() and (folder / "configs" / "metadata.json").is_file()):
        raise InputError(f"There is no bundle in {folder}: give the folder that holds configs/inference.json.")
    if not files[-1].is_file():
        raise InputError(f"The bundle {folder} has no configs/{overlay}: give the name of a file that is there.")
    return files


def read_bundle(bundle: str | os.PathLike[str], files: Sequence[Path], **settings: Any) -> ConfigParser:
    """The configuration of a bundle, with its metadata.

    Args:
        bundle: folder of the bundle.
        files: see :func:`bundle_files`.
        settings: entries that take the place of the bundle's; those that are None do not.
    """
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.read_meta(str(Path(str(bundle)) / "configs" / "metadata.json"))
    parser["bundle_root"] = str(bundle)
    for key, value in settings.items():
        if value is not None:
            parser[key] = value
    return parser


def without_writers(transforms: Sequence[Any]) -> list[Any]:
    """A bundle's postprocessing without the transforms that write the masks and maps of a case to files.

    Args:
        transforms: as the configuration declares them.
    """
    return [t for t in transforms if not (isinstance(t, Mapping) and t.get("_target_") in _WRITERS)]


def parsed(parser: ConfigParser, key: str) -> Any:
    """An entry of a configuration, made what it stands for.

    Raises:
        InputError: when a setting is out of range.
    """
    try:
        return parser.get_parsed_content(key)
    except RuntimeError as e:  # as MONAI wraps what a constructor raises
        cause = find_input_error(e)
        if cause is None:
            raise
        raise InputError(str(cause)) from e
