"""Repeated parts of a network: scheduled once, stored once, known by their own names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from intaglio.compiler.signature import Signature, names, signature
from intaglio.compiler.workload import Workload
from intaglio.templates.npu.program import Program


@dataclass(slots=True)
class Repeats:
    """Programs of workloads without constants for one design, by what decides them.

    Constants make programs differ, so workloads with constants are not remembered.
    """

    known: dict[Signature, tuple[Workload, Program]] = field(default_factory=dict)

    def find(self, workload: Workload) -> Program | None:
        """The program of `workload`, when one of the same signature is known.

        It shares that one's instructions; nothing but names differs.
        """
        if workload.emittable:
            return None
        found = self.known.get(signature(workload))
        return None if found is None else renamed(found[1], found[0], workload)

    def add(self, workload: Workload, program: Program) -> None:
        """Remember the program of `workload`."""
        if not workload.emittable:
            self.known[signature(workload)] = (workload, program)


def renamed(program: Program, before: Workload, after: Workload) -> Program:
    """`program` of the workload `before` as that of `after`, which has the same signature."""
    tensors = dict(zip(names(before), names(after), strict=True))
    ops = {old.name: new for old, new in zip(before.ops, after.ops, strict=True)}
    regions = {"program": "program"}
    regions |= {f"tensor {old}": f"tensor {new}" for old, new in tensors.items()}
    regions |= {f"constants {old}": f"constants {new.name}" for old, new in ops.items()}
    return replace(
        program,
        workload_name=after.name,
        regions={regions[name]: region for name, region in program.regions.items()},
        tensors={
            tensors[name]: replace(layout, name=tensors[name])
            for name, layout in program.tensors.items()
        },
        inputs=after.inputs,
        outputs=after.outputs,
        layers=tuple(
            replace(
                layer,
                name=" + ".join(ops[name].name for name in layer.ops),
                members=tuple(
                    node
                    for name in layer.ops
                    for node in ops[name].source.nodes or (ops[name].name,)
                ),
                ops=tuple(ops[name].name for name in layer.ops),
            )
            for layer in program.layers
        ),
    )
