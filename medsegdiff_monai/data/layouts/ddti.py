# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image, ImageDraw
from tqdm import tqdm

from medsegdiff_monai.data.layouts.files import existing_folder, files_below, natural_key, words
from medsegdiff_monai.data.layouts.layout import LayoutCase, LayoutData
from medsegdiff_monai.data.reading import read_header
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

__all__ = ["read_ddti"]


def read_ddti(root: Path, labels_dir: Path) -> LayoutData:
    """Read the Digital Database of Thyroid Ultrasound Images and draw its label maps.

    The folder holds ``<case>_<k>.jpg`` and, for each case, ``<case>.xml``, whose ``<mark>`` elements give for the image
    of number ``<image>`` the nodules' outlines as JSON in ``<svg>``: ``[{"points": [{"x": 247, "y": 91}, ...]}, ...]``,
    in pixels from the upper left corner. The labels are 1 in the union of an image's nodules, and are written to
    ``labels_dir`` as 8-bit PNG. A case is a patient.
    """
    files, problems = files_below(existing_folder(root), 0)
    images: dict[str, dict[int, list[Path]]] = {}  # by case and number
    annotations: dict[str, Path] = {}  # by case
    for path in files:
        if match := re.fullmatch(r"(?i)(.+)_(\d+)\.jpe?g", path.name):
            images.setdefault(match[1], {}).setdefault(int(match[2]), []).append(path)
        elif path.suffix.lower() == ".xml":
            annotations[path.stem] = path
    if not images or not annotations:
        raise InputError(f"{root} holds no DDTI cases: give the folder that holds <case>_<k>.jpg and <case>.xml.")
    data = LayoutData(
        name="DDTI",
        modality={"0": "B-mode thyroid ultrasound"},
        labels={"0": "background", "1": "thyroid nodule"},
        tensor_image_size="2D",
        regions={"nodule": [1]},
        background=[0],
        problems=problems,
    )
    for case in tqdm(sorted({*images, *annotations}, key=natural_key), desc="Drawing", unit="case", leave=False):
        pictures = images.get(case, {})
        labels: dict[int, Image.Image] = {}
        with data.reporting(case):
            marks = _marks(case, annotations.get(case))
            if not pictures and not marks:
                raise InputError(f"{case}.xml has neither marks nor images: add them or take it away.")
            for k in sorted({*pictures, *marks}):
                with data.reporting(f"{case}_{k}"):
                    labels[k] = _label(case, k, pictures.get(k, []), marks.get(k, []))
        for k, label in labels.items():
            path = check_writable(labels_dir) / f"{case}_{k}.png"
            replace_atomically(path, label.save)
            data.cases.append(LayoutCase(path.stem, case, (pictures[k][0],), path))
    return data


def _marks(case: str, path: Path | None) -> dict[int, list[str]]:
    """The outlines in the XML file of a case, as text by image number; those of one image may be in several marks."""
    if path is None:
        raise InputError(f"Its images have no {case}.xml: add it.")
    try:
        tree = ElementTree.parse(path).getroot()
        marks: dict[int, list[str]] = {}
        for mark in tree.iter("mark"):
            marks.setdefault(int(mark.findtext("image") or ""), []).append(mark.findtext("svg") or "")
    except (OSError, ElementTree.ParseError) as e:
        raise InputError(f"{path.name} is not readable XML ({e}): replace it.") from e
    except ValueError as e:
        raise InputError(f"{path.name} has a mark without the number of its image: add it.") from e
    number = (tree.findtext("number") or case).strip()
    if number != case:
        raise InputError(f"{path.name} says that it belongs to case {number}: mend its <number> or its name.")
    return marks


def _label(case: str, k: int, images: list[Path], marks: list[str]) -> Image.Image:
    """The union of an image's nodules, on its grid."""
    xml = f"{case}.xml"
    if not images:
        raise InputError(f"{xml} marks image {k}, but {case}_{k}.jpg is missing: add it.")
    if not marks:
        raise InputError(f"{xml} has no mark for image {k}: add it, or take the image away.")
    if len(images) > 1:
        raise InputError(f"{words(p.name for p in images)} are two images of one number: leave one.")
    polygons = [p for text in marks for p in _polygons(text, f"image {k} in {xml}")]
    columns, rows = read_header(images[0], images[0].name).shape[:2]
    outside = [(x, y) for polygon in polygons for x, y in polygon if not (0 <= x <= columns and 0 <= y <= rows)]
    if outside:
        raise InputError(
            f"{xml} has outlines beyond {images[0].name}, as at ({outside[0][0]:g}, {outside[0][1]:g}) in {columns} x "
            f"{rows} pixels: give the image in its published size."
        )
    label = Image.new("L", (columns, rows), 0)
    drawing = ImageDraw.Draw(label)
    for polygon in polygons:
        drawing.polygon(polygon, fill=1, outline=1)
    if label.getextrema() == (0, 0):
        raise InputError(f"The outlines for {images[0].name} in {xml} hold no pixel: mend them.")
    return label


def _polygons(text: str, where: str) -> list[list[tuple[float, float]]]:
    if not text.strip():
        raise InputError(f"The <svg> for {where} is empty: add the outline.")
    try:
        shapes: Any = json.loads(text)
        polygons = [[(float(point["x"]), float(point["y"])) for point in shape["points"]] for shape in shapes]
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f"The <svg> for {where} is damaged: replace the file.") from e
    if not polygons:
        raise InputError(f"The <svg> for {where} has no outline: add it.")
    if any(len(p) < 3 or not all(map(math.isfinite, (v for point in p for v in point))) for p in polygons):
        raise InputError(f"The <svg> for {where} has an outline of fewer than three points: mend it.")
    return polygons
