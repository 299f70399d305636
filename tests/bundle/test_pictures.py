# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The picture of a case as the last step of each bundle's inference with details."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser
from PIL import Image

from medsegdiff_monai.transforms import SaveOverlayd


@pytest.mark.parametrize("members", [1, 2])
def test_inference_draws_each_case(
    members: int,
    bundle: Path,
    phantoms_of: Callable[[Path], Path],
    small_of: Callable[[Path], dict[str, Any]],
    untrained_of: Callable[[Path], Path],
    parse: Callable[..., ConfigParser],
    tmp_path: Path,
) -> None:
    settings = {"num_inference_steps": 1, "num_ensemble": members, "with_labels": True}
    places = {"dataset_dir": str(phantoms_of(bundle)), "output_dir": str(tmp_path)}
    checkpoint = str(untrained_of(bundle))
    configs = ("inference.json", "details.json")
    parser = parse(bundle, *configs, **small_of(bundle), **settings, **places, checkpoint=checkpoint)
    volumes = parser.get("contrasts") is not None
    assert isinstance(parser.get_parsed_content("postprocessing").transforms[-1], SaveOverlayd)
    parser.get_parsed_content("run")
    pictures = sorted(tmp_path.glob("*_overlay.png"))
    assert len(pictures) == 3
    for path in pictures:
        with Image.open(path) as picture:
            width, height = picture.size
        # With several members there is a further panel, of their disagreement; volumes have three rows.
        panels = 3 + {"thyroid": 1, "fundus": 2, "brats": 3}[bundle.name.split("_")[0]] + (members > 1)
        assert width == int((panels * 3.0 + 0.5) * 150)
        assert (height > 1000) == volumes
