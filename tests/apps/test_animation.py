# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from medsegdiff_monai.apps import animation
from medsegdiff_monai.apps.animation import make_animation
from medsegdiff_monai.data import load_cases
from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.utils import InputError

SMALL = {
    "thyroid_ultrasound_medsegdiff": {"image_size": [32, 32]},
    "brats_mri_medsegdiff": {"patch_size": [16, 16, 16], "spacing": [8.0, 8.0, 8.0]},
}


@pytest.fixture(scope="module")
def small(thyroid_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A bundle's copy with a narrow network of random weights."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("bundle") / name
            shutil.copytree(thyroid_bundle.parent / name / "configs", folder / "configs")
            path = folder / "configs" / "inference.json"
            config = json.loads(path.read_text()) | SMALL[name]
            config["denoiser"] |= {"channels": [8, 16, 16, 16]}
            path.write_text(json.dumps(config))
            parser = ConfigParser()
            parser.read_config(str(path))
            torch.manual_seed(0)
            (folder / "models").mkdir()
            torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "models" / "model.pt")
            made[name] = folder
        return made[name]

    return get


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is given to be drawn: case, steps and captions."""
    kept: list[Any] = []
    monkeypatch.setattr(animation, "save_animation", lambda _, *given: kept.append(given))
    return kept


@pytest.fixture(scope="module")
def nodule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ultrasound")
    write_phantoms(folder, "ultrasound", 1, 1, 1, 40, seed=5)
    return Path(load_cases(folder, "test")[0]["image"])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The four contrasts of a phantom in files of BraTS' names."""
    folder = tmp_path_factory.mktemp("brain")
    write_phantoms(folder, "brain", 1, 1, 1, 24, seed=5)
    image = nib.load(load_cases(folder, "test")[0]["image"])
    case = folder / "BraTS_001"
    case.mkdir()
    named = [case / f"BraTS_001_{key}.nii.gz" for key in ("flair", "t1", "t1ce", "t2")]
    for channel, place in enumerate(named):
        nib.save(image.slicer[..., channel], place)
    return named


def test_animation_of_a_picture_has_a_frame_for_each_step(small: Any, nodule: Path, tmp_path: Path) -> None:
    bundle = small("thyroid_ultrasound_medsegdiff")
    path = make_animation(str(bundle), str(nodule), str(tmp_path / "a.gif"), steps=3, device="cpu")
    with Image.open(path) as made:
        assert made.n_frames == 3


def test_last_step_is_the_member_on_the_grid_of_the_file(small: Any, nodule: Path, drawn: list) -> None:
    bundle = small("thyroid_ultrasound_medsegdiff")
    make_animation(str(bundle), str(nodule), "a.gif", member=1, device="cpu")
    case, steps, captions = drawn[0]
    with Image.open(nodule) as image:
        assert case.image.shape == image.size
    assert steps.shape == (4, 1, *case.image.shape)
    assert captions[0] == "step 1 of 4: t = 999, noise 1.00"
    assert captions[-1].startswith("step 4 of 4: t = 0, noise 0.0")
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    inferer, network = (parser.get_parsed_content(key) for key in ("inferer", "network_def"))
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    prepared = parser.get_parsed_content("preprocessing")({"image": str(nodule)})["image"]
    expected = inferer.sample(prepared[None].as_tensor(), network)[0, 1]
    # Seen through the same interpolation, the mean is the network's own.
    assert steps[-1].mean() == pytest.approx(float(expected.mean()), abs=0.02)
    np.testing.assert_array_equal(case.masks, steps[-1] >= 0.5)


@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_brats_case_is_animated_in_windows(given: str, small: Any, head: list[Path], drawn: list) -> None:
    place = head[2] if given == "file" else head[0].parent
    make_animation(str(small("brats_mri_medsegdiff")), str(place), "a.png", steps=2, device="cpu")
    case, steps, captions = drawn[0]
    assert case.name == "BraTS_001"
    assert (case.contrast, case.frame) == ("FLAIR", "RAS")
    assert list(case.regions) == ["TC", "WT", "ET"]
    assert steps.shape == (2, 3, *nib.load(head[0]).shape)
    assert len(captions) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "animation.avi"}, r"must be a file .gif or .png, got animation.avi"),
        ({"image": "nothing.png"}, "There is no image nothing.png"),
        ({"bundle": "nothing"}, "There is no bundle in nothing"),
        ({"overlay": "nothing.json"}, "has no configs/nothing.json"),
        ({"member": 7}, "member must be from 0 to 4, got 7"),
        ({"steps": 0}, "0"),
        ({"device": "cuda:99"}, "There is no device cuda:99"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    change: dict[str, Any], message: str, small: Any, nodule: Path, drawn: list
) -> None:
    given = {
        "bundle": str(small("thyroid_ultrasound_medsegdiff")),
        "image": str(nodule),
        "out": "a.gif",
        "device": "cpu",
    }
    with pytest.raises(InputError, match=message):
        make_animation(**{**given, **change})
    assert drawn == []


def test_folders_of_several_images_are_refused(small: Any, nodule: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(nodule, tmp_path / name)
    with pytest.raises(InputError, match="holds 2 images"):
        make_animation(str(small("thyroid_ultrasound_medsegdiff")), str(tmp_path), "a.gif")


def test_weights_of_another_network_are_refused(small: Any, nodule: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small("thyroid_ultrasound_medsegdiff"), bundle)
    torch.save({"denoiser.weight": torch.zeros(1)}, bundle / "models" / "model.pt")
    with pytest.raises(InputError, match="another architecture"):
        make_animation(str(bundle), str(nodule), str(tmp_path / "a.gif"), device="cpu")
