"""The example networks through both of PyTorch's exporters: what the module itself becomes."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from intaglio.compiler.onnx_import import load_onnx
from intaglio.compiler.onnx_import.importer import import_network
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Expand, Reshape, Slice, Transpose, Workload
from intaglio.examples import attention, decoders, sequences, vision
from intaglio.examples.networks import Model

OLDER: dict[str, Callable[[], Model]] = {
    "unet_bilinear": partial(vision.unet_bilinear, width=4, depth=2, size=16),
    "vit": partial(attention.vit_tiny, layers=1, pixels=32),
    "keyword_dscnn": partial(sequences.keyword_dscnn, steps=20),
    "lstm": partial(sequences.lstm, steps=3, hidden=8),
    "mobilenet_v2": partial(vision.mobilenet_v2, width=0.25, size=32),
}
NEWER: dict[str, Callable[[], Model]] = {
    "gru": partial(sequences.gru, steps=3, hidden=8),
    "bert": partial(attention.bert, layers=1, features=16, tokens=4),
    "gpt2": partial(attention.gpt2, layers=1, features=16, tokens=4),
    "llama": partial(attention.llama, layers=1, features=16, tokens=4),
    "unet": partial(vision.unet, width=4, depth=2, size=16),
    "efficientnet": partial(vision.efficientnet, width=0.25, size=32),
    "decoder": decoders.gpt2_step,
}
"""Networks by the exporter whose files are tried: PyTorch's older one, and the newer one."""
QUICK = {"unet_bilinear", "vit", "gru", "bert"}
CASES = [
    pytest.param(build, newer, id=name, marks=[] if name in QUICK else pytest.mark.slow)
    for newer, networks in enumerate((OLDER, NEWER))
    for name, build in networks.items()
]


def written(module: nn.Module, x: tuple[torch.Tensor, ...], path: Path, newer: bool) -> Path:
    """The file that one of PyTorch's exporters writes."""
    if newer:
        pytest.importorskip("onnxscript", reason="the newer exporter needs onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if newer:
            torch.onnx.export(module, x, path, dynamo=True, external_data=False, verbose=False)
        else:
            torch.onnx.export(module, x, path, dynamo=False, opset_version=17)
    return path


def made_of(workload: Workload) -> Counter[str]:
    """How many operators of each kind compute; moves may be spelled in other ways."""
    moves = (Expand, Reshape, Slice, Transpose)
    return Counter(type(op).__name__ for op in workload.ops if not isinstance(op, moves))


@pytest.mark.parametrize(("build", "newer"), CASES)
def test_a_file_becomes_what_its_network_becomes(
    build: Callable[[], Model], newer: bool, tmp_path: Path
) -> None:
    module, x = build()
    path = written(module, x, tmp_path / "net.onnx", newer)
    with torch.no_grad():
        wanted, made = module(*x), import_network(path).network(*x)
    results = [wanted] if isinstance(wanted, torch.Tensor) else wanted
    for ours, theirs in zip(made, results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert made_of(to_workload(*load_onnx(path))) == made_of(to_workload(module, x))
