# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

__all__ = ["IMAGE_CLASSES", "MODALITIES", "PICTURE_CLASSES", "RETIRED_CLASSES", "SECONDARY_CAPTURE", "VOLUME_CLASSES"]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


VOLUME_CLASSES = frozenset(
    {  # classic, Enhanced, and Legacy Converted Enhanced MR (PS3.4 B.5)
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.4.1",
        "1.2.840.10008.5.1.4.1.1.4.4",
    }
)


RETIRED_CLASSES = {  # ultrasound, one frame and several (PS3.6 annex A), and the classes that took their place
    "1.2.840.10008.5.1.4.1.1.6": "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.3": "1.2.840.10008.5.1.4.1.1.3.1",
}


PICTURE_CLASSES = frozenset(
    {
        *RETIRED_CLASSES,
        *RETIRED_CLASSES.values(),
        "1.2.840.10008.5.1.4.1.1.77.1.4",  # photograph
        "1.2.840.10008.5.1.4.1.1.77.1.5.1",  # ophthalmic photograph, 8 bits
        "1.2.840.10008.5.1.4.1.1.77.1.5.2",  # ophthalmic photograph, 16 bits
        SECONDARY_CAPTURE,
        f"{SECONDARY_CAPTURE}.2",  # multi-frame grey byte
        f"{SECONDARY_CAPTURE}.4",  # multi-frame true colour
    }
)


IMAGE_CLASSES = VOLUME_CLASSES | PICTURE_CLASSES


MODALITIES = {  # of the objects of a class, where that leaves no choice
    **dict.fromkeys(VOLUME_CLASSES, "MR"),
    **dict.fromkeys((*RETIRED_CLASSES, *RETIRED_CLASSES.values()), "US"),
    "1.2.840.10008.5.1.4.1.1.77.1.4": "XC",
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "OP",
    "1.2.840.10008.5.1.4.1.1.77.1.5.2": "OP",
}
