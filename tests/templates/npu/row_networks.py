"""Random networks of rows: products, norms, softmax under masks, sums of rows."""

from __future__ import annotations

from hypothesis import strategies as st

from intaglio.compiler.workload import ElementType, Workload
from tests.compiler.builders import I8, U8, Builder

I16 = ElementType(16)


@st.composite
def row_networks(draw: st.DrawFn) -> Workload:
    """Two to five operators on rows of up to 40 features, at least one of them on whole rows."""
    b = Builder(draw(st.integers(0, 1 << 16)))
    shape = 1, draw(st.integers(1, 20)), draw(st.integers(1, 40))
    x = b.tensor("x", shape, draw(st.sampled_from((I8, U8, I16))))
    made, inputs = [x], [x]
    for index in range(draw(st.integers(1, 4))):
        kinds = ("norm", "softmax", "matmul", "rescale", "add")
        name, kind = f"op{index}", draw(st.sampled_from(kinds))
        source = draw(st.sampled_from(made))
        made.append(_grow(draw, b, name, kind, source, (made, inputs)))
    last = b.norm("last", made[-1], draw(st.sampled_from(("layer", "rms"))))
    return b.build(tuple(inputs), (last,))


def _grow(
    draw: st.DrawFn, b: Builder, name: str, kind: str, source: str, known: tuple[list[str], ...]
) -> str:
    """An operator that reads `source`; `known` are all tensors so far, and the inputs."""
    made, inputs = known
    shape = b.tensors[source].shape
    element = draw(st.sampled_from((I8, U8, I16)))
    match kind:
        case "norm":
            return b.norm(name, source, draw(st.sampled_from(("layer", "rms"))), element)
        case "softmax":
            mask = None
            if draw(st.booleans()):
                rows = draw(st.sampled_from((shape[1], 1)))
                flags = ElementType(1, "unsigned")
                mask = b.tensor(f"{name}.mask", (1, rows, shape[2]), flags)
                inputs.append(mask)
            return b.softmax(name, source, mask)
        case "matmul":
            return b.matmul(name, source, draw(st.integers(1, 40)), element)
        case "rescale":
            return b.rescale(name, source, element, table=False)
        case _:
            same = [other for other in made if b.tensors[other].shape == shape]
            return b.eltwise(name, "add", source, draw(st.sampled_from(same)), element)
