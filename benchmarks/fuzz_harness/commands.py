# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The commands that the inputs go through: their data, their command lines, and what they leave."""

from __future__ import annotations

import csv
import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image

from .dicom_seeds import study_files, study_uid, ultrasound_file
from .inputs import Input, MutatedFile, mutated_file, mutated_study
from .seeds import CONTRASTS, SPACING_MM, Form, brain, forms_of, nifti, picture, png

__all__ = ["COMMANDS", "Command", "Results", "small_bundle"]

Results = dict[str, dict[str, Any]]  # of each case that is done, what it left, by name

_BUNDLES = Path(__file__).resolve().parents[2] / "bundle"
_THYROID, _BRAIN = "thyroid_ultrasound_medsegdiff", "brats_mri_medsegdiff"
_QUICK: dict[str, dict[str, Any]] = {
    _THYROID: {"num_inference_steps": 1, "num_ensemble": 1},
    _BRAIN: {"num_inference_steps": 1, "num_ensemble": 1, "patch_size": [32] * 3, "spacing": [SPACING_MM] * 3},
}
_MAPS = re.compile(r"_(seg|probability|uncertainty)(?:_[A-Z]+)?\.(?:png|nii\.gz)$")


def small_bundle(name: str, folder: Path) -> Path:
    """Copy of a bundle that takes one step and one member, and small windows.

    Args:
        name: name of the bundle.
        folder: where it is put, unless it is there.
    """
    path = folder / name
    if not path.is_dir():
        shutil.copytree(_BUNDLES / name, path)
        config = path / "configs" / "inference.json"
        content = json.loads(config.read_text(encoding="utf-8")) | _QUICK[name]
        config.write_text(json.dumps(content), encoding="utf-8")
    return path


class Command(ABC):
    """A command on a folder of good cases and mutated inputs.

    Args:
        work: folder for the bundles.
    """

    goods: tuple[str, ...] = ("good0", "good1")
    whole_list = "Engine run finished"  # behind this, the output names all that is left out

    def __init__(self, work: Path) -> None:
        self.work = work

    @abstractmethod
    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write the good cases and the inputs into an empty folder."""

    @abstractmethod
    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        """Module and arguments."""

    @abstractmethod
    def results(self, out: Path) -> Results:
        """What each case left that is done."""

    def token(self, one: Input) -> str:
        """Regular expression of what names an input in the output."""
        return re.escape(one.name)


def _maps(out: Path) -> Results:
    """Values of masks and maps by case and kind of map."""
    found: Results = {}
    for path in sorted(out.iterdir()):
        match = _MAPS.search(path.name)
        if match:
            image: Any = nib.load(path) if path.name.endswith(".nii.gz") else Image.open(path)
            values = np.asarray(getattr(image, "dataobj", image))
            found.setdefault(path.name[: match.start()], {})[path.name[match.start() + 1 :].split(".")[0]] = values
    return found


def _bundle_line(bundle: Path, data: Path, out: Path, *configs: str) -> tuple[str, list[str]]:
    files = str([str(bundle / "configs" / name) for name in ("inference.json", *configs)])
    folders = ["--bundle_root", str(bundle), "--dataset_dir", str(data), "--output_dir", str(out)]
    return "monai.bundle", ["run", "--config_file", files, *folders]


def _write_datalist(data: Path, cases: Sequence[dict[str, Any]]) -> None:
    (data / "datalist.json").write_text(json.dumps({"test": cases}), encoding="utf-8")


def _volume_like(suffix: str) -> bool:
    return suffix.startswith(".nii")


class Pictures(Command):
    """Inference of the thyroid bundle on a plain folder."""

    goods = ("good0", "good1", "good2")

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write pictures and 2D NIfTI files."""
        good = (Form(".png", png(picture(1)[0])), forms_of("jpeg")[0], forms_of("nifti_2d")[1])
        for name, form in zip(self.goods, good):
            MutatedFile(*form).write(data / name)
        for one in inputs:
            mutated_file(one)[0].write(data / one.name)

    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        """The command of the README."""
        return _bundle_line(small_bundle(_THYROID, self.work), data, out)

    def results(self, out: Path) -> Results:
        """Masks and maps."""
        return _maps(out)


class Volumes(Command):
    """Inference of the brain bundle on a datalist of four files a case."""

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write volumes; three contrasts of an input are good."""
        shared = []
        for i in range(CONTRASTS):
            shared.append(f"contrast{i}.nii")
            (data / shared[-1]).write_bytes(nifti(brain()[..., i], SPACING_MM))
        (data / "all.nii").write_bytes(nifti(brain(1), SPACING_MM))
        cases: list[dict[str, Any]] = [{"image": shared}, {"image": "all.nii"}]
        cases = [{**case, "case": name} for case, name in zip(cases, self.goods)]
        for one in inputs:
            file, rng = mutated_file(one)
            images = list(shared)
            images[int(rng.integers(0, CONTRASTS))] = file.write(data / one.name).name
            cases.append({"image": images, "case": one.name})
        _write_datalist(data, cases)

    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        """The command of the bundle's README."""
        return _bundle_line(small_bundle(_BRAIN, self.work), data, out)

    def results(self, out: Path) -> Results:
        """Masks and maps."""
        return _maps(out)


class Evaluation(Command):
    """Evaluation of the thyroid bundle with labels."""

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write two pictures, each as a case of its own and as the picture of the mutated labels of its format."""
        (data / "picture.png").write_bytes(png(picture()[0]))
        (data / "volume.nii").write_bytes(nifti(picture()[0].T.copy()))
        (data / "good0_label.png").write_bytes(png(picture()[1]))
        (data / "good1_label.nii").write_bytes(nifti(picture()[1].T.copy()))
        cases = [
            {"image": "picture.png", "label": "good0_label.png"},
            {"image": "volume.nii", "label": "good1_label.nii"},
        ]
        cases = [{**case, "case": name} for case, name in zip(cases, self.goods)]
        for one in inputs:
            file = mutated_file(one)[0]
            image = "volume.nii" if _volume_like(file.suffix) else "picture.png"
            cases.append({"image": image, "label": file.write(data / one.name).name, "case": one.name})
        _write_datalist(data, cases)

    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        """The command of the bundle's README."""
        return _bundle_line(small_bundle(_THYROID, self.work), data, out, "evaluate.json")

    def results(self, out: Path) -> Results:
        """Masks and maps of the cases that have a row in the table, with its numbers."""
        table = out / "metrics.csv"
        with table.open(encoding="utf-8", newline="") as file:
            rows = {row.pop("case"): row for row in csv.DictReader(file)}
        return {name: found | {"metrics": rows[name]} for name, found in _maps(out).items() if name in rows}


class Datalist(Command):
    """The command that writes the datalist of a folder of images and labels."""

    whole_list = "cases of"

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write pairs; the image or the label of an input is mutated."""
        for part in ("images", "labels"):
            (data / part).mkdir()
        good = (Form(".png", png(picture()[1])), Form(".nii", nifti(picture()[1].T.copy())))
        for name, form in zip(self.goods, good):
            for part in ("images", "labels"):
                MutatedFile(*form).write(data / part / name)
        for one in inputs:
            file, rng = mutated_file(one)
            parts = ("images", "labels") if rng.random() < 0.5 else ("labels", "images")
            file.write(data / parts[0] / one.name)
            MutatedFile(*good[_volume_like(file.suffix)]).write(data / parts[1] / one.name)

    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        """The command of the README."""
        return "medsegdiff_monai", ["datalist", "folder", str(data), "--out", str(out / "datalist.json")]

    def results(self, out: Path) -> Results:
        """Entries of the cases, without the way to the folder."""
        content = json.loads((out / "datalist.json").read_text(encoding="utf-8"))
        entries = [entry for section in ("training", "validation", "test") for entry in content[section]]
        return {entry["case"]: {"image": Path(entry["image"]).name} for entry in entries}


class Dicom(Command):
    """The command ``dicom`` on a folder with a folder for each study."""

    whole_list = ""
    bundle = ""

    def token(self, one: Input) -> str:
        """The folder, or the end of the study's UID."""
        return f"{one.name}|{study_uid(one.number)[-8:]}"

    def line(self, data: Path, out: Path) -> tuple[str, list[str]]:
        """The command of the README."""
        bundle = small_bundle(self.bundle, self.work)
        return "medsegdiff_monai", ["dicom", str(data), "--bundle", str(bundle), "--out", str(out)]

    def results(self, out: Path) -> Results:
        """Pixels of each case's objects, by the end of the study's UID, or else by the case's folder."""
        found: Results = {}
        for folder in sorted(out.glob("case_*")):
            objects = {path.stem: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}
            name = str(objects["seg"].StudyInstanceUID)[-8:]
            pixels = {stem: ds.PixelData for stem, ds in objects.items() if "PixelData" in ds}
            found[folder.name if name in found else name] = pixels | {"report": "sr" in objects}
        return found


class DicomPictures(Dicom):
    """Ultrasound pictures of the thyroid bundle."""

    bundle = _THYROID
    goods = tuple(study_uid(number)[-8:] for number in (0, 1))

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write a folder for each object."""
        for number, name in enumerate(self.goods):
            (data / f"good{name}").mkdir()
            (data / f"good{name}" / "1.dcm").write_bytes(ultrasound_file(number, form=8 * number))
        for one in inputs:
            (data / one.name).mkdir()
            mutated_file(one)[0].write(data / one.name / "1")


class DicomVolumes(Dicom):
    """MR studies of the brain bundle."""

    bundle = _BRAIN
    goods = (study_uid(0)[-8:],)

    def write(self, data: Path, inputs: Sequence[Input]) -> None:
        """Write a folder for each study."""
        (data / "good").mkdir()
        for name, content in study_files(0).items():
            (data / "good" / name).write_bytes(content)
        for one in inputs:
            (data / one.name).mkdir()
            for name, file in mutated_study(one).items():
                file.write(data / one.name / name)


COMMANDS: dict[str, type[Command]] = {
    "pictures": Pictures,
    "volumes": Volumes,
    "evaluation": Evaluation,
    "datalist": Datalist,
    "dicom_pictures": DicomPictures,
    "dicom_volumes": DicomVolumes,
}
