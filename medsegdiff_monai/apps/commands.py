# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

from medsegdiff_monai.apps.datalist import write_datalist
from medsegdiff_monai.apps.demo import run_demo
from medsegdiff_monai.apps.zoo_check import run_zoo_check
from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.utils import InputError

__all__ = ["Commands"]


class Commands:
    """MedSegDiff for MONAI: medical image segmentation with diffusion models.

    Bundles are run by `python -m monai.bundle run`; see the README of each bundle.
    """

    def phantoms(
        self,
        out: str,
        kind: str = "ultrasound",
        training: int = 200,
        validation: int = 20,
        test: int = 20,
        size: int = 128,
        seed: int = 0,
    ) -> None:
        """Write a data set of seeded phantoms with reference masks and a datalist.json.

        Args:
            out: folder to write, made where it is missing.
            kind: "ultrasound" (2D, one nodule), "fundus" (2D RGB, disc and cup) or "brain" (3D, four contrasts).
            training: number of training cases.
            validation: number of validation cases.
            test: number of test cases.
            size: pixels along each axis.
            seed: seed of the phantoms; the same seed gives the same files.
        """
        try:
            write_phantoms(out, kind, training, validation, test, size, seed)
        except InputError:
            raise
        except ValueError as e:
            raise InputError(str(e)) from e

    def demo(
        self,
        out: str = "demo",
        data: str | None = None,
        bundle: str = "bundle/thyroid_ultrasound_medsegdiff",
        epochs: int | None = None,
        seed: int = 0,
    ) -> None:
        """Train, infer, evaluate and draw with the thyroid bundle's small setting, through monai.bundle.

        Args:
            out: folder of everything that is made; what an earlier demo left there is replaced.
            data: folder with a datalist.json of real images; phantoms are made where it is not given.
            bundle: folder of the bundle.
            epochs: number of training epochs; by default about three minutes' worth on two cores.
            seed: seed of the phantoms and the training.
        """
        run_demo(out, data, bundle, epochs, seed)

    def datalist(
        self,
        layout: str,
        root: str,
        out: str = "datalist.json",
        split: str | None = None,
        seed: int = 0,
        regions: str | None = None,
        background: str | None = None,
        patient: str | None = None,
    ) -> None:
        """Write a datalist.json for a data set in its owners' layout, split by patient.

        What is missing or doubtful is printed case by case and left out; see docs/data.md for the layouts.

        Args:
            layout: "refuge2", "brats" (every naming since 2018), "msd" (Task01_BrainTumour), "ddti" (draws the labels
                into ddti_labels beside the datalist) or "folder" (images and labels).
            root: folder of the data set.
            out: datalist to write, which may replace an earlier one; its paths start from its own folder.
            split: shares of training, validation and test, as 0.7,0.1,0.2 (the default); without it, REFUGE's own
                sections are kept.
            seed: seed of the split; the same seed gives the same sections.
            regions: for "folder": label values of each region, as disc=1+2,cup=2; by default the bundle's own hold.
            background: for "folder" with regions: label values that belong to none, as 0+3; by default 0.
            patient: for "folder": regular expression that finds the patient in an image's name, with one group, as
                "(p[0-9]+)_"; by default every image is a patient of its own.
        """
        write_datalist(layout, root, out, split, seed, regions=regions, background=background, patient=patient)

    def zoo_check(self, *bundles: str, schema: str | None = None) -> None:
        """Check bundles against the rules of the MONAI model zoo and print what each rule says.

        Args:
            bundles: folders of the bundles.
            schema: folder or file of the metadata's schema; by default what MEDSEGDIFF_SCHEMA names, or else the
                folder shared/schema beside the repository.
        """
        run_zoo_check([str(bundle) for bundle in bundles], schema)
