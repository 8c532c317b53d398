"""A workload on disk and on paper: JSON for structure, safetensors for numbers, text for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from numpy.typing import NDArray

from intaglio.compiler.bundle import Bundle, Numbers
from intaglio.compiler.calls import Value, call_from_dict
from intaglio.compiler.packing import pack, packs, unpack
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Constant,
    Conv2d,
    ElementType,
    Eltwise,
    Expand,
    Gather,
    Host,
    MatMul,
    Multiply,
    Norm,
    Op,
    Pad,
    Pool,
    Reduce,
    Requantise,
    Rescale,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Source,
    Tensor,
    Transpose,
    Workload,
    epilogues,
    inputs,
    outputs,
)
from intaglio.errors import IntaglioError

FILES = Bundle("workload", schema=2)
"""`workload.json` and `workload.safetensors`."""
OP_KINDS: Mapping[str, Callable[..., Op]] = {kind.__name__: kind for kind in get_args(Op)}

T = TypeVar("T")


def save_workload(workload: Workload, folder: Path) -> tuple[Path, Path]:
    """Write `workload.json` and `workload.safetensors` into `folder`; returns their paths.

    Weights of fewer than 8 bits are packed, as `compiler.packing` says.
    """
    return FILES.save(folder, to_dict(workload), _packed(workload))


def load_workload(folder: Path) -> Workload:
    """Read what `save_workload` wrote.

    Raises ArtifactError when a file is missing, corrupt, of another schema, or when the numbers
    do not match their hash.
    """
    described, numbers = FILES.load(folder)
    try:
        return from_dict(described, _unpacked(described, numbers))
    except (ValueError, KeyError, TypeError, IntaglioError) as error:
        raise FILES.corrupt(folder, error) from error


def _packed(workload: Workload) -> Numbers:
    """The constants as they lie on disk."""
    weights = {op.weight for op in workload.ops if isinstance(op, Conv2d | MatMul)}
    elements = {name: workload.tensor(name).element for name in weights}
    return {
        name: pack(array, elements[name]) if name in elements and packs(elements[name]) else array
        for name, array in workload.constants.items()
    }


def _unpacked(described: dict[str, Any], numbers: Numbers) -> Numbers:
    """The constants of what is described, from how they lie on disk."""
    layers = (Conv2d.__name__, MatMul.__name__)
    weights = {entry["weight"] for entry in described["ops"] if entry["op"] in layers}
    tensors = [_tensor(entry) for entry in described["tensors"] if entry["name"] in weights]
    own = {
        tensor.name: unpack(numbers[tensor.name], tensor.element, tensor.shape)
        for tensor in tensors
        if packs(tensor.element) and tensor.name in numbers
    }
    return {**numbers, **own}


def to_dict(workload: Workload) -> dict[str, Any]:
    """The structure of `workload`, without its numbers, as JSON values."""
    return {
        "name": workload.name,
        "inputs": list(workload.inputs),
        "outputs": list(workload.outputs),
        "tensors": [dataclasses.asdict(tensor) for tensor in workload.tensors.values()],
        "ops": [{"op": type(op).__name__, **dataclasses.asdict(op)} for op in workload.ops],
    }


def from_dict(described: dict[str, Any], constants: Mapping[str, NDArray[Any]]) -> Workload:
    """The workload that `to_dict` described; ValueError, KeyError or TypeError when it is not."""
    tensors = [_tensor(entry) for entry in described["tensors"]]
    return Workload(
        described["name"],
        tuple(described["inputs"]),
        tuple(described["outputs"]),
        tuple(_op(entry) for entry in described["ops"]),
        {tensor.name: tensor for tensor in tensors},
        {name: constants[name] for name in sorted(constants)},
    )


def _tensor(entry: dict[str, Any]) -> Tensor:
    return _record(Tensor, entry, element=lambda e: _record(ElementType, e))


def _op(entry: dict[str, Any]) -> Op:
    rest = {key: value for key, value in entry.items() if key != "op"}
    return _record(
        OP_KINDS[entry["op"]],
        rest,
        source=lambda e: _record(Source, e),
        epilogue=_optional(_epilogue),
        epilogues=lambda several: tuple(_epilogue(e) for e in several),
        calls=lambda several: tuple(call_from_dict(e) for e in several),
        results=lambda several: tuple(_record(Value, e) for e in several),
    )


def _epilogue(entry: dict[str, Any]) -> Requantise:
    return _record(Requantise, entry)


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda entry: None if entry is None else read(entry)


def _record(kind: Callable[..., T], entry: dict[str, Any], **readers: Callable[[Any], object]) -> T:
    """`kind` from its fields; lists become tuples, and `readers` make the nested records."""
    values = {}
    for key, value in entry.items():
        if key in readers:
            values[key] = readers[key](value)
        else:
            values[key] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def describe(workload: Workload) -> str:
    """`workload` as text: one line for each operator, with shapes, types and constants' ranges."""
    lines = [f"workload {workload.name}{'' if workload.emittable else ' (shapes only)'}"]
    lines += [f"  input  {_typed(workload.tensor(name))}" for name in workload.inputs]
    lines += [f"  {_describe_op(workload, op)}" for op in workload.ops]
    lines += [f"  output {_typed(workload.tensor(name))}" for name in workload.outputs]
    return "\n".join(lines) + "\n"


def _typed(tensor: Tensor) -> str:
    size = "x".join(str(extent) for extent in tensor.shape)
    return f"{tensor.name}: {size} {tensor.element} scale {tensor.scale:.6g}"


def _describe_op(workload: Workload, op: Op) -> str:
    made = ", ".join(_typed(workload.tensor(name)) for name in outputs(op))
    parts = [f"{made} = {_verb(op)}({', '.join(inputs(op))})"]
    parts += _attributes(workload, op)
    parts += [_describe_epilogue(workload, epilogue) for epilogue in epilogues(op)]
    return " ".join(parts)


def _verb(op: Op) -> str:
    match op:
        case Pool():
            return f"{op.kind}_pool"
        case Eltwise():
            return op.kind
        case Norm():
            return f"{op.kind}_norm"
        case _:
            return type(op).__name__.lower()


def _attributes(workload: Workload, op: Op) -> list[str]:
    match op:
        case Conv2d():
            weight = workload.tensor(op.weight)
            words = [f"weight {'x'.join(map(str, weight.shape))} {weight.element}"]
            words += [f"stride {_pair(op.stride)}"] if op.stride != (1, 1) else []
            words += [f"padding {_pair(op.padding)}"] if any(op.padding) else []
            words += [f"dilation {_pair(op.dilation)}"] if op.dilation != (1, 1) else []
            return words + ([f"groups {op.groups}"] if op.groups != 1 else [])
        case MatMul():
            weight = workload.tensor(op.weight)
            return [f"weight {'x'.join(map(str, weight.shape))} {weight.element}"]
        case Pool():
            words = [f"kernel {_pair(op.kernel)}", f"stride {_pair(op.stride)}"]
            return words + ([f"padding {_pair(op.padding)}"] if any(op.padding) else [])
        case BatchMatMul():
            return ["transposed"] if op.transposed else []
        case Reduce():
            return [f"{op.kind} over {_pair(op.axes)}"]
        case Softmax():
            return [f"m {op.multiplier} s {op.shift}"]
        case Norm():
            groups = [f"groups {op.groups}"] if op.kind == "group" else []
            return [*groups, f"epsilon {op.epsilon} fraction {op.fraction}"]
        case Resize():
            return ["linear"] + (["corners aligned"] if op.aligned else [])
        case Transpose():
            return [f"axes {_pair(op.permutation)}"]
        case Slice():
            return [f"from {_pair(op.starts)} step {_pair(op.steps)}"]
        case Pad():
            return [f"before {_pair(op.before)} after {_pair(op.after)}"]
        case Concat() | Gather():
            return [f"axis {op.axis}"] if op.axis != 1 else []
        case Host():
            return [f"[{'; '.join(map(str, op.calls))}]"]
        case Eltwise() | Rescale() | Multiply() | Constant() | Reshape() | Expand():
            return []


def _pair(values: tuple[int, ...]) -> str:
    return ",".join(str(value) for value in values)


def _describe_epilogue(workload: Workload, epilogue: Requantise) -> str:
    def span(label: str, name: str | None) -> list[str]:
        if name is None:
            return []
        array = workload.constants.get(name)
        if array is None:
            return [f"{label} ?"]
        least, most = int(array.min()), int(array.max())
        return [f"{label} {least}" if least == most else f"{label} {least}..{most}"]

    words = span("m", epilogue.multiplier) + span("s", epilogue.shift)
    words += span("b", epilogue.bias) + span("mr", epilogue.residual_multiplier)
    words += [f"to {epilogue.lo}..{epilogue.hi}"] + (["table"] if epilogue.table else [])
    return f"[{' '.join(words)}]"
