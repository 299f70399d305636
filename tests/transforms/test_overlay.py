# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from PIL import Image, ImageOps

from medsegdiff_monai.inferers import EnsembleScores
from medsegdiff_monai.transforms import AntialiasedResized, LoadCased, SaveOverlayd, ShownImage, in_dims, overlay
from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import PicturedCase

REGIONS = {"TC": [1, 4], "WT": [1, 2, 4]}


def loaded(path: Path) -> MetaTensor:
    return LoadCased("image")({"image": str(path)})["image"]


def volume(path: Path, affine: np.ndarray, shape: tuple[int, ...] = (6, 8, 10), code: int = 1) -> Path:
    """A volume whose voxels tell where they lie: 100 x + 10 y + z in world coordinates."""
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    image = nib.Nifti1Image((100 * world[0] + 10 * world[1] + world[2]).astype(np.float32), affine)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def case_of(image: MetaTensor, **parts: Any) -> dict[str, Any]:
    """What postprocessing has of a case with the first region in the first rows."""
    masks = torch.zeros(2, *image.shape[1:])
    masks[0, :3] = 1.0
    results = {"pred": masks, "probability": 0.8 * masks, "uncertainty": 0.3 * masks, **parts}
    return {k: MetaTensor(v, meta=image.meta) if torch.is_tensor(v) else v for k, v in results.items()}


def scores_of(pairwise: list[float] | None, predicted: list[float]) -> EnsembleScores:
    """Scores of a case of two regions."""
    pairs = None if pairwise is None else torch.tensor([pairwise])
    return EnsembleScores(torch.tensor([[0.1, 0.2]]), pairs, torch.tensor([predicted]), None, None)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, PicturedCase]]:
    """What is given to be drawn."""
    kept: list[tuple[Path, PicturedCase]] = []
    monkeypatch.setattr(overlay, "save_overlay", lambda path, case: kept.append((path, case)))
    return kept


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (30, 20)) -> Path:
    rng = np.random.default_rng(0)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(rng.integers(0, 255, shape).astype(np.uint8)).save(path)
    return path


def test_picture_is_read_anew_and_written_under_the_name_of_its_case(tmp_path: Path, drawn: list) -> None:
    path = picture(tmp_path / "scan.png")
    case = case_of(loaded(path))
    assert SaveOverlayd("pred", tmp_path / "out", REGIONS)(case) == case
    ((place, shown),) = drawn
    assert place == tmp_path / "out" / "scan_overlay.png"
    np.testing.assert_array_equal(shown.image, np.asarray(Image.open(path)).T)
    assert shown.image.dtype == np.uint8
    assert (shown.name, shown.spacing, shown.frame, shown.contrast) == ("scan", None, None, None)
    assert list(shown.regions) == ["TC", "WT"]
    np.testing.assert_allclose(shown.probability, 0.8 * shown.masks)
    np.testing.assert_allclose(shown.uncertainty, 0.3 * shown.masks, rtol=1e-6)
    assert shown.reference is None
    assert shown.mutual_information is None


def test_without_a_folder_nothing_is_drawn(tmp_path: Path, drawn: list) -> None:
    case = case_of(loaded(picture(tmp_path / "scan.png")))
    assert SaveOverlayd("pred", None, REGIONS)(case) == case
    assert drawn == []


def test_colour_picture_is_shown_in_colour(tmp_path: Path, drawn: list) -> None:
    path = picture(tmp_path / "eye.png", "RGB")
    SaveOverlayd("pred", tmp_path, REGIONS)(case_of(loaded(path)))
    np.testing.assert_array_equal(drawn[0][1].image, np.asarray(Image.open(path)).transpose(1, 0, 2))


def test_a_real_file_is_written(tmp_path: Path) -> None:
    SaveOverlayd("pred", tmp_path / "out", REGIONS)(case_of(loaded(picture(tmp_path / "scan.png"))))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scan_overlay.png"]
    with Image.open(tmp_path / "out" / "scan_overlay.png") as made:
        made.verify()


def test_scores_go_into_the_title_and_regions_that_are_not_labelled_are_left_out(tmp_path: Path, drawn: list) -> None:
    image = loaded(picture(tmp_path / "scan.png"))
    scores = scores_of([0.91, 0.5], [0.87, 0.4])
    label = torch.ones(2, *image.shape[1:])
    case = case_of(image, scores=scores, label=label, mutual_information=0.1 * label)
    SaveOverlayd("pred", tmp_path, {"disc": [1, 2], "cup": []})(case)
    shown = drawn[0][1]
    assert shown.title == "scan\npredicted Dice 0.87, members agree 0.91"
    assert shown.masks.shape == shown.reference.shape == shown.mutual_information.shape == (1, 30, 20)


def test_a_single_member_has_no_uncertainty(tmp_path: Path, drawn: list) -> None:
    scores = scores_of(None, [0.87, 0.4])
    SaveOverlayd("pred", tmp_path, REGIONS)(case_of(loaded(picture(tmp_path / "scan.png")), scores=scores))
    shown = drawn[0][1]
    assert shown.uncertainty is None
    assert shown.agreement is None
    assert shown.title == "scan\nTC: predicted Dice 0.87\nWT: predicted Dice 0.40"


def test_maps_of_the_network_are_shown_on_the_grid_of_the_file(tmp_path: Path, drawn: list) -> None:
    prepare = Compose([LoadCased("image"), AntialiasedResized("image", [12, 16])])
    prepared = prepare({"image": str(picture(tmp_path / "scan.png"))})
    small = torch.rand(2, 12, 16, generator=torch.Generator().manual_seed(0))
    case = {
        **prepared,
        **case_of(loaded(tmp_path / "scan.png")),
        "image": prepared["image"],
        "uncertainty": MetaTensor(small),
    }
    SaveOverlayd("pred", tmp_path, REGIONS, preprocessing=prepare)(case)
    expected = torch.nn.functional.interpolate(small[None], (30, 20), mode="bilinear")[0]
    np.testing.assert_allclose(drawn[0][1].uncertainty, expected, atol=1e-6)


def test_of_a_huge_picture_every_third_pixel_is_shown(tmp_path: Path, drawn: list) -> None:
    path = picture(tmp_path / "scan.png", size=(9, 4100))
    SaveOverlayd("pred", tmp_path, REGIONS)(case_of(loaded(path)))
    np.testing.assert_array_equal(drawn[0][1].image, np.asarray(Image.open(path)).T[::3, ::3])
    assert drawn[0][1].masks.shape == drawn[0][1].probability.shape == (2, 3, 1367)


@pytest.mark.parametrize(
    "axes",
    [((0, 1), (1, 1), (2, 1)), ((0, -1), (1, -1), (2, 1)), ((2, 1), (0, -1), (1, -1))],
    ids=["RAS", "LPS", "SLP"],
)
def test_volumes_are_turned_to_the_patient_with_their_spacing(
    axes: tuple[tuple[int, int], ...], tmp_path: Path, drawn: list
) -> None:
    spacing = (1.0, 2.0, 3.0)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (world, sign) in enumerate(axes):
        affine[world, column] = sign * spacing[column]
    image = loaded(volume(tmp_path / "v.nii.gz", affine))
    case = case_of(image)
    case["pred"][0] = (image[0] > image[0].median()).float()
    SaveOverlayd("pred", tmp_path, REGIONS, contrasts=["FLAIR"], shown="FLAIR")(case)
    shown = drawn[0][1]
    assert (shown.frame, shown.contrast) == ("RAS", "FLAIR")
    # The image's values rise by 100, 10 and 1 a millimetre to the right, to the front and to the head.
    steps = [float(np.diff(shown.image, axis=axis).mean()) for axis in range(3)]
    np.testing.assert_allclose(steps, np.array([100.0, 10.0, 1.0]) * shown.spacing, rtol=1e-4)
    np.testing.assert_array_equal(shown.masks[0] > 0, shown.image > float(image.median()))


def test_volume_without_directions_stays_as_it_is(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    path = volume(tmp_path / "v.nii.gz", affine, code=0)
    whole = ShownImage(loaded(path), ["FLAIR"])
    assert whole.frame is None
    np.testing.assert_array_equal(whole.array, np.asarray(nib.load(path).dataobj))


@pytest.mark.parametrize(
    ("contrasts", "shown", "channel"),
    [(["T1w", "FLAIR"], "FLAIR", 1), (["T1w", "T2w"], "FLAIR", 0), (["T1w", "FLAIR"], None, 0)],
)
def test_contrast_that_is_asked_for_is_shown_where_there_is_one(
    contrasts: list[str], shown: str | None, channel: int, tmp_path: Path
) -> None:
    array = np.random.default_rng(0).normal(size=(5, 6, 7, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "v.nii.gz")
    whole = ShownImage(loaded(tmp_path / "v.nii.gz"), contrasts, shown)
    assert whole.contrast == contrasts[channel]
    np.testing.assert_allclose(whole.array, array[..., channel], rtol=1e-6)


def test_image_of_the_first_of_several_files_is_its_first_contrast(tmp_path: Path) -> None:
    whole = ShownImage(loaded(volume(tmp_path / "flair.nii.gz", np.eye(4))), ["T1w", "FLAIR"], "FLAIR")
    assert whole.contrast == "T1w"


def test_results_on_another_grid_and_lost_files_are_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "scan.png")
    case = case_of(loaded(path))
    smaller = {**case, "pred": MetaTensor(torch.zeros(2, 8, 8), meta=case["pred"].meta)}
    with pytest.raises(ValueError, match="put Invertd before SaveOverlayd"):
        SaveOverlayd("pred", tmp_path, REGIONS)(smaller)
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        SaveOverlayd("pred", tmp_path, REGIONS)(case)


def test_slice_that_is_stored_as_a_volume_is_shown_as_a_picture(tmp_path: Path, drawn: list) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (30, 20, 1)).astype(np.uint8)
    nib.save(nib.Nifti1Image(voxels, np.diag([0.5, 0.25, 3.0, 1.0])), tmp_path / "scan.nii.gz")
    SaveOverlayd("pred", tmp_path / "out", REGIONS)(case_of(in_dims(loaded(tmp_path / "scan.nii.gz"), 2)))
    ((_, shown),) = drawn
    np.testing.assert_array_equal(shown.image, voxels[..., 0])
    assert (list(shown.spacing), shown.frame) == ([0.5, 0.25], None)


def test_picture_is_shown_as_its_orientation_says(tmp_path: Path, drawn: list) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.open(picture(tmp_path / "scan.png")).save(tmp_path / "scan.png", exif=tags)
    SaveOverlayd("pred", tmp_path / "out", REGIONS)(case_of(loaded(tmp_path / "scan.png")))
    ((_, shown),) = drawn
    np.testing.assert_array_equal(shown.image, np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "scan.png"))).T)
