# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from medsegdiff_monai.apps.animation import make_animation
from medsegdiff_monai.apps.calibrate import calibrate_bundle
from medsegdiff_monai.apps.datalist import write_datalist
from medsegdiff_monai.apps.demo import run_demo
from medsegdiff_monai.apps.export import export_bundle
from medsegdiff_monai.apps.program import with_texts_as_typed
from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.utils import InputError, printable

__all__ = ["Commands"]


def _check_flags(**flags: bool) -> None:
    """Refuse a flag that has swallowed the argument behind it, which fire takes for its value."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InputError(f"--{name} takes no value, got {value}: give the folders first and --{name} behind them.")


@contextmanager
def _needing_dicom() -> Iterator[None]:
    try:
        yield
    except ImportError as e:
        raise InputError(f"The package {e.name} is missing: install medsegdiff_monai[dicom].") from e


@with_texts_as_typed
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
        readers: int = 1,
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
            readers: number of readers of each ultrasound image, whose reference masks differ by a known rule.
        """
        write_phantoms(out, kind, training, validation, test, size, seed, readers)

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

        What is missing or doubtful is printed case by case and left out, and the exit status is then 1; see
        docs/data.md for the layouts.

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
        options = {"regions": regions, "background": background, "patient": patient}
        if write_datalist(layout, root, out, split, seed, **options):
            sys.exit(1)

    def dicom(
        self,
        *folders: str,
        bundle: str,
        out: str,
        contrasts: str | None = None,
        resample: bool = False,
        steps: int | None = None,
        members: int | None = None,
        device: str | None = None,
        report: bool = False,
        overwrite: bool = False,
        resume: bool = False,
        case_timeout: float = 1800,
    ) -> None:
        """Segment DICOM images with a bundle and write DICOM SEG, uncertainty maps and a structured report.

        Every study in the folders is a case for the MRI bundle, every image object for the 2D bundles; what is no
        image for the bundle is named and left out. A case's files are in a folder of its own, case_001 and so on,
        and summary.json lists them. The exit status is 1 where a case failed, or a file was left out that may have been
        an image; the others are written nevertheless.

        Args:
            folders: folders with DICOM objects; those below them are searched as well.
            bundle: folder of the bundle.
            out: folder of the results, which must be empty.
            contrasts: for the MRI bundle, series that cannot be recognised by their attributes, as
                T1w=SERIES,T1gd=SERIES with the folder, the UID or the number of the series.
            resample: resample contrasts on other grids onto that of the bundle's first contrast (FLAIR).
            steps: network evaluations of each member of the ensemble; by default the bundle's.
            members: members of the ensemble; by default the bundle's.
            device: cpu, cuda, cuda:1, ...; by default a GPU where there is one.
            report: write an HTML page of each case as well: contours, probability and uncertainty on the image, and the
                measurements with their 90 % intervals.
            overwrite: replace the results of an earlier run in the output folder.
            resume: go on with an earlier run in the output folder that was interrupted, without doing cases twice.
            case_timeout: seconds that reading a case may take, and making and writing its results.
        """
        with _needing_dicom():
            from medsegdiff_monai.apps.dicom import run_dicom
        _check_flags(resample=resample, report=report, overwrite=overwrite, resume=resume)
        settings = (contrasts, resample, steps, members, device, overwrite, report, resume, case_timeout)
        sys.exit(run_dicom(list(folders), bundle, out, *settings))

    def dicomweb(
        self,
        url: str,
        study: str,
        bundle: str,
        out: str | None = None,
        contrasts: str | None = None,
        resample: bool = False,
        steps: int | None = None,
        members: int | None = None,
        device: str | None = None,
        again: bool = False,
        credentials: str | None = None,
        timeout: float = 60,
        max_time: float = 600,
        max_size: float = 4,
    ) -> None:
        """Segment studies of a PACS with a bundle and store DICOM SEG, uncertainty maps and a report in them.

        The PACS is asked by DICOMweb (QIDO-RS, WADO-RS, STOW-RS). A study that has results of the same bundle and
        weights is left as it is. The exit status is 1 where a study failed; the others are done nevertheless.

        User and password are read from MEDSEGDIFF_DICOMWEB_USER and MEDSEGDIFF_DICOMWEB_PASSWORD, or a token from
        MEDSEGDIFF_DICOMWEB_TOKEN, and are never given on the command line, which other users of a machine can read.

        Args:
            url: address of the DICOMweb service, as http://127.0.0.1:8042/dicom-web.
            study: Study Instance UID; several with commas between, or the option repeated.
            bundle: folder of the bundle.
            out: folder that keeps the results as well, which must be empty.
            contrasts: for the MRI bundle, series that cannot be recognised by their attributes, as
                T1w=SERIES,T1gd=SERIES with the UID or the number of the series.
            resample: resample contrasts on other grids onto that of the bundle's first contrast (FLAIR).
            steps: network evaluations of each member of the ensemble; by default the bundle's.
            members: members of the ensemble; by default the bundle's.
            device: cpu, cuda, cuda:1, ...; by default a GPU where there is one.
            again: make new results where the study has some of this bundle and these weights.
            credentials: file with lines "user = ..." and "password = ...", or "token = ...", which nobody else may
                read; it is used in place of the environment.
            timeout: longest wait for a connection and for data, in seconds.
            max_time: longest time of one request, such as that for a series, in seconds.
            max_size: largest size of the images of a study, in gigabytes.
        """
        with _needing_dicom():
            from medsegdiff_monai.apps.dicomweb import Limits, run_dicomweb
            from medsegdiff_monai.apps.dicomweb.command import read_studies
        _check_flags(resample=resample, again=again)
        studies = read_studies(study, sys.argv[1:])
        given = (out, contrasts, resample, steps, members, device, again)
        limits = Limits(timeout, max_time, max_size)
        sys.exit(run_dicomweb(url, studies, bundle, *given, credentials, limits))

    def calibrate(
        self,
        bundle: str,
        data: str,
        section: str = "validation",
        checkpoint: str | None = None,
        overlay: str | None = None,
        out: str | None = None,
        device: str | None = None,
        dry_run: bool = False,
    ) -> None:
        """Fit a bundle's temperature to labelled cases, write it into the bundle and print what it changes.

        The number in the line "temperature" of configs/inference.json (or of the overlay, where it has that line) is
        replaced, and configs/calibration.json records what it was fitted to and the calibration before and after.

        Args:
            bundle: folder of the bundle.
            data: folder of the data set with its datalist.json.
            section: section of the datalist whose cases have labels and were not trained on.
            checkpoint: file of the weights; by default the bundle's own.
            overlay: further file of the bundle's folder configs, such as disc.json.
            out: folder that gets reliability.png, the reliability diagram before and after.
            device: cpu, cuda, cuda:1, ...; by default a GPU where there is one.
            dry_run: print only, and leave the bundle as it is.
        """
        _check_flags(dry_run=dry_run)
        calibrate_bundle(bundle, data, section, checkpoint, overlay, out, device, dry_run)

    def export(
        self,
        bundle: str,
        out: str,
        checkpoint: str | None = None,
        overlay: str | None = None,
        steps: int | None = None,
        members: int | None = None,
        opset: int = 20,
        device: str = "cpu",
    ) -> None:
        """Write a bundle's network with its weights, sampler and fusion as one file that needs nothing of this package.

        The file's answer is compared with the network's before it takes its place; see docs/export.md.

        Args:
            bundle: folder of the bundle.
            out: file to write: ONNX where it ends in .onnx, TorchScript where it ends in .ts.
            checkpoint: file of the weights; by default the bundle's own.
            overlay: further file of the bundle's folder configs, such as disc.json.
            steps: number of sampler steps; by default the bundle's.
            members: number of members; by default the bundle's.
            opset: version of ONNX's operators, 18 to 21.
            device: device that runs the network, and on which a TorchScript file keeps its weights.
        """
        print(f"Wrote {printable(export_bundle(bundle, out, checkpoint, overlay, steps, members, opset, device))}")

    def animate(
        self,
        bundle: str,
        image: str,
        out: str = "animation.gif",
        member: int = 0,
        steps: int | None = None,
        overlay: str | None = None,
        device: str | None = None,
    ) -> None:
        """Draw how the sampler comes to a mask: what it estimates the mask to be at each of its steps.

        Args:
            bundle: folder of the bundle.
            image: file of the image, any file of a BraTS case, or the folder of one case.
            out: animation to write: animated where it ends in .gif, a strip of pictures where it ends in .png.
            member: number of the member of the ensemble, from 0.
            steps: number of sampler steps; by default the bundle's.
            overlay: further file of the bundle's folder configs, such as disc.json.
            device: cpu, cuda, cuda:1, ...; by default a GPU where there is one.
        """
        print(f"Wrote {printable(make_animation(bundle, image, out, member, steps, overlay, device))}")
