"""What passes read from and write to FX graphs: shapes, parameters, origins, the user's lines."""

from __future__ import annotations

import logging
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import Argument, Target

ORIGINS = "origins"
"""Key of a node's metadata: the captured nodes that it stands for."""

_FRAME = re.compile(
    r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*\n\s*(?P<text>(?!File ")[^\n]+)'
)
_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_PYTHON = f"{sysconfig.get_path('stdlib')}{os.sep}"
_INSTALLED = (f"{_PYTHON}site-packages{os.sep}", f"{_PYTHON}dist-packages{os.sep}")


@contextmanager
def quiet() -> Iterator[None]:
    """Run a block without the warnings and log lines of torch and torchao."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def mark_origins(module: GraphModule) -> None:
    """Let every node stand for itself."""
    for node in module.graph.nodes:
        node.meta[ORIGINS] = (node.name,)


def origins(node: Node) -> tuple[str, ...]:
    """The captured nodes that `node` stands for."""
    names: tuple[str, ...] = node.meta.get(ORIGINS, ())
    return names


def shape(node: Node) -> tuple[int, ...]:
    """The shape of the node's value; empty when the value is no tensor."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def parameter(module: GraphModule, node: Node) -> Tensor:
    """The tensor that a `get_attr` node fetches."""
    value: object = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    assert isinstance(value, Tensor)
    return value.detach()


def input_name(node: Node) -> str:
    """The name that the model gives an input; the node's own is another for names like `input`."""
    return str(node.target)


def value_name(node: Node) -> str:
    """What errors call the value of a node."""
    return input_name(node) if node.op == "placeholder" else node.name


def owner(node: Node) -> GraphModule:
    """The module whose graph a node is in."""
    module = node.graph.owning_module
    assert isinstance(module, GraphModule)
    return module


def is_real(node: Node) -> bool:
    """Whether the value of a node is real, not an index or a mask."""
    return bool(node.meta["val"].dtype.is_floating_point)


def argument(node: Node, index: int, name: str, default: Argument = None) -> Argument:
    """A positional or keyword argument of a call, or its default."""
    if index < len(node.args):
        return node.args[index]
    return node.kwargs.get(name, default)


def single_user(node: Node) -> Node | None:
    """The only user of a node, when it has exactly one."""
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def insert_call(
    before: Node,
    target: Target,
    args: tuple[Argument, ...],
    like: Node,
    size: tuple[int, ...],
    name: str | None = None,
) -> Node:
    """A new call ahead of `before` that stands for what `like` stands for, of shape `size`."""
    graph = before.graph
    with graph.inserting_before(before):
        node = graph.create_node("call_function", target, args, name=name)
    node.meta = {
        key: like.meta[key] for key in ("nn_module_stack", "stack_trace") if key in like.meta
    }
    node.meta[ORIGINS] = origins(like)
    node.meta["val"] = _value_like(like, size)
    return node


def insert_parameter(module: GraphModule, before: Node, name: str, value: Tensor) -> Node:
    """A new buffer of `module`, fetched ahead of `before`; a number tells equal names apart."""
    count, wanted = 1, name
    while hasattr(module, name):
        count += 1
        name = f"{wanted}_{count}"
    module.register_buffer(name, value)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(name)
    node.meta["val"] = _value_like(before, tuple(value.shape))
    return node


def _value_like(node: Node, size: tuple[int, ...]) -> Tensor:
    """What torch.export would note as the value of a node: a tensor of `size` without data."""
    value = node.meta["val"]
    value = value[0] if isinstance(value, tuple | list) else value
    with value.fake_mode:
        return torch.empty(size, dtype=value.dtype)


def merge_origins(kept: Node, gone: Node) -> None:
    """Let `kept` stand for what `gone` stood for, too."""
    kept.meta[ORIGINS] = tuple(dict.fromkeys(origins(kept) + origins(gone)))


def replace(gone: Node, kept: Node) -> None:
    """Let `kept` take the place of `gone`, and stand for what `gone` stood for."""
    merge_origins(kept, gone)
    gone.replace_all_uses_with(kept)
    gone.graph.erase_node(gone)


def user_line(node: Node) -> str:
    """The user's own line behind a node, as `file.py:12: text`; empty when torch kept none."""
    return deepest_line(node.meta.get("stack_trace") or "")


def deepest_line(trace: str) -> str:
    """The innermost frame of a printed stack outside torch and Python, as `file.py:12: text`."""
    frames = [m for m in _FRAME.finditer(trace) if not _of_libraries(m["file"])]
    if not frames:
        return ""
    last = frames[-1]
    return f"{Path(last['file']).name}:{last['line']}: {last['text'].strip()}"


def _of_libraries(file: str) -> bool:
    """Whether a source file belongs to torch or to Python itself, or is no file."""
    of_python = file.startswith(_PYTHON) and not file.startswith(_INSTALLED)
    return of_python or file.startswith((_TORCH, "<"))


def operation(node: Node) -> str:
    """The name of the function that a call calls, such as `conv2d.default`."""
    return str(getattr(node.target, "__name__", node.target))


def module_path(node: Node) -> str:
    """The path of the torch module that made a node, such as `layer1.0.conv1`, or its ONNX name.

    Calls made in the user's own `forward` get the path of that module and the name of the
    operation, such as `layer1.0.add`.
    """
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    path = re.sub(r"@\d+$", "", path)
    if path and kind.startswith(("torch.nn.modules.", "onnx.")):
        return path
    name = operation(node).split(".")[0]
    return f"{path}.{name}" if path else name
