# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

__all__ = ["VARIANTS"]

# Number of down-samplings after Table 1 of the paper; blocks per stage as in ResNet34 (3, 4, 6, 3) below a one-block
# stage at full resolution. The paper states no widths: these are ours.
VARIANTS: dict[str, dict[str, tuple]] = {
    "S": {"channels": (32, 64, 128, 256, 256), "num_res_blocks": (1, 3, 4, 6, 3)},
    "B": {"channels": (32, 64, 128, 256, 256, 512), "num_res_blocks": (1, 3, 4, 6, 3, 3)},
    "L": {"channels": (32, 64, 128, 256, 256, 512, 512), "num_res_blocks": (1, 3, 4, 6, 3, 3, 3)},
    "++": {"channels": (64, 128, 256, 384, 512, 512, 512), "num_res_blocks": (1, 3, 4, 6, 3, 3, 3)},
}
