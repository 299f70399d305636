# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["make_noise_optional"]

_PREFIX = "inputs"


def make_noise_optional(model: Any, members: int, channels: int, divisor: int) -> None:
    """Let a file of image and noise draw the noise where it is not given, and refuse inputs that do not fit.

    An input that is also an initializer has that as its default: here noise of no elements, and an ``If`` on its size
    draws the noise for it. ONNX has no assertion; what stands for one is a ``Gather`` from a list of one element, at an
    index that is zero only where all is well. Its name is what a runtime shows in its message.

    Args:
        model: ``onnx.ModelProto`` whose graph has the inputs ``image`` of shape ``(B, context_channels, *spatial)`` and
            ``noise`` of shape ``(B, N, C, *spatial)``; changed in place.
        members: number N of members where the noise is drawn.
        channels: number C of channels of the mask.
        divisor: number by which spatial sizes must be divisible.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    rank = next(len(i.type.tensor_type.shape.dim) for i in graph.input if i.name == "image")
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in ("image", "noise"):
                node.input[i] = _named(name)
    front = [
        *_checked_image(helper, divisor),
        *_size_of_noise(helper),
        _given_or_drawn(helper, [None, None, channels] + [None] * (rank - 2)),
    ]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)

    constants: dict[str, np.ndarray] = {
        _named("divisor"): np.array([divisor], dtype=np.int64),
        _named("allowed"): np.zeros(1, dtype=np.int64),
        _named("none"): np.array(0, dtype=np.int64),
        _named("members"): np.array([members], dtype=np.int64),
        _named("channels"): np.array([channels], dtype=np.int64),
        "noise": np.zeros((0, members, channels) + (0,) * (rank - 2), dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def _named(name: str) -> str:
    return f"{_PREFIX}/{name}"


def _checked_image(helper: Any, divisor: int) -> list[Any]:
    """The image, or an end of the run where a spatial size does not fit."""
    return [
        helper.make_node("Shape", ["image"], [_named("image_shape")]),
        helper.make_node("Shape", ["image"], [_named("spatial")], start=2),
        helper.make_node("Mod", [_named("spatial"), _named("divisor")], [_named("remainders")]),
        helper.make_node("ReduceMax", [_named("remainders")], [_named("remainder")], keepdims=0),
        helper.make_node(
            "Gather",
            [_named("allowed"), _named("remainder")],
            [_named("image_fits")],
            name=f"the spatial size of the image must be divisible by {divisor}: pad or resize it",
        ),
        helper.make_node("Add", [_named("image_shape"), _named("image_fits")], [_named("checked_shape")]),
        helper.make_node("Reshape", ["image", _named("checked_shape")], [_named("image")]),
    ]


def _size_of_noise(helper: Any) -> list[Any]:
    return [
        helper.make_node("Shape", [_named("image")], [_named("batch")], end=1),
        helper.make_node("Size", ["noise"], [_named("elements")]),
        helper.make_node("Equal", [_named("elements"), _named("none")], [_named("no_noise")]),
    ]


def _given_or_drawn(helper: Any, shape: list[int | None]) -> Any:
    from onnx import TensorProto

    output = helper.make_tensor_value_info("drawn", TensorProto.FLOAT, shape)
    wanted = [_named("batch"), _named("members"), _named("channels"), _named("spatial")]
    draw = [
        helper.make_node("Concat", wanted, ["drawn_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["drawn_shape"], ["blank"]),
        helper.make_node("RandomNormalLike", ["blank"], ["drawn"], dtype=TensorProto.FLOAT),
    ]
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, shape)
    expected = [_named("batch"), "given_members", _named("channels"), _named("spatial")]
    check = [
        helper.make_node("Shape", ["noise"], ["given_shape"]),
        helper.make_node("Shape", ["noise"], ["given_members"], start=1, end=2),
        helper.make_node("Concat", expected, ["expected_shape"], axis=0),
        helper.make_node("Sub", ["given_shape", "expected_shape"], ["differences"]),
        helper.make_node("Abs", ["differences"], ["distances"]),
        helper.make_node("ReduceMax", ["distances"], ["distance"], keepdims=0),
        helper.make_node(
            "Gather",
            [_named("allowed"), "distance"],
            ["noise_fits"],
            name="the noise must have the batch and the spatial size of the image",
        ),
        helper.make_node("Add", ["given_shape", "noise_fits"], ["confirmed_shape"]),
        helper.make_node("Reshape", ["noise", "confirmed_shape"], ["given"]),
    ]
    return helper.make_node(
        "If",
        [_named("no_noise")],
        [_named("noise")],
        name="draw the noise where it is not given",
        then_branch=helper.make_graph(draw, "draw", [], [output]),
        else_branch=helper.make_graph(check, "check", [], [given]),
    )
