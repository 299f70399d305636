# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The server with a real PACS as its data store: from an ultrasound image in the PACS to a segmentation in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from apps.dicom import objects
from monai.data import MetaTensor
from PIL import Image
from support.label_studies import THYROID, stored_objects
from support.orthanc import PASSWORD, USER, Orthanc

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.apps.label import prepare_app
from medsegdiff_monai.data.phantoms import make_phantom

METHOD = f"{THYROID}_disagreement"
NUMBER = 2


@pytest.fixture(scope="module")
def ultrasound() -> list[np.ndarray]:
    return [make_phantom("ultrasound", np.random.default_rng([9, i]), (40, 52))[0] for i in range(NUMBER)]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, ultrasound: list[np.ndarray]) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    for i, picture in enumerate(ultrasound):
        objects.picture(folder / f"{i}.dcm", picture, objects.new_study())
    running = Orthanc(folder)
    running.put(folder)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(
    orthanc: Orthanc, small_bundle: Callable[[str], Path], start_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    app = prepare_app(tmp_path_factory.mktemp("app"), [small_bundle(THYROID)])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MEDSEGDIFF_DICOMWEB_USER", USER)
        environment.setenv("MEDSEGDIFF_DICOMWEB_PASSWORD", PASSWORD)
        return start_server(app, orthanc.url)


def test_an_image_of_the_pacs_is_segmented_and_its_label_comes_back_to_the_pacs(
    server: Any, orthanc: Orthanc, ultrasound: list[np.ndarray], small_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    assert server.request("GET", "/info/").json()["datastore"]["total"] == NUMBER
    name = server.next_image("first")["id"]
    shown = server.request("GET", "/datastore/image", params={"image": name}).content
    (tmp_path / "image.png").write_bytes(shown)
    pixels = np.asarray(Image.open(tmp_path / "image.png"))
    assert any(np.array_equal(pixels, expected) for expected in ultrasound)
    label = np.asarray(Image.open(server.infer(THYROID, name, tmp_path / "label.png")))
    image = MetaTensor(torch.from_numpy(pixels.T[None].astype(np.float32)))
    segmented = Bundle(small_bundle(THYROID), device="cpu").segment(image)  # as the command dicom does it
    np.testing.assert_array_equal(label, segmented.label_map.T)
    assert 0 < label.mean() < 1
    server.save_label(name, tmp_path / "label.png")
    (seg,) = stored_objects(orthanc, "SEG")
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: label.size]
    np.testing.assert_array_equal(bits.reshape(label.shape), label)
    source = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    (found,) = [ds for ds in stored_objects(orthanc, "US") if ds.SOPInstanceUID == source]
    np.testing.assert_array_equal(found.pixel_array, pixels)
    assert (seg.StudyInstanceUID, seg.PatientID) == (found.StudyInstanceUID, found.PatientID)
    assert server.next_image("first")["id"] != name


def test_the_images_of_the_pacs_are_scored_and_new_ones_offered(
    server: Any, orthanc: Orthanc, ultrasound: list[np.ndarray], tmp_path: Path
) -> None:
    objects.picture(tmp_path / "new.dcm", ultrasound[0][::-1].copy(), objects.new_study())
    orthanc.put(tmp_path)
    offered = {server.next_image("random")["id"] for _ in range(2)}
    assert server.request("GET", "/info/").json()["datastore"]["total"] == NUMBER + 1
    server.run_task("scoring", METHOD)
    listed = server.request("GET", "/datastore/", params={"output": "all"}).json()["objects"]
    scores = {name: entry["image"]["info"].get(METHOD) for name, entry in listed.items()}
    assert offered <= scores.keys()
    ranked = sorted((n for n in scores if "final" not in listed[n]["labels"]), key=lambda n: -scores[n])
    assert server.next_image(f"{THYROID}_most_uncertain")["id"] == ranked[0]
