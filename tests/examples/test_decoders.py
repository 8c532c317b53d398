"""Decoders: steps behind caches say what a longer prompt says, and integers track them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.examples.decoders import (
    SMALL,
    Model,
    gpt2,
    gpt2_prompt,
    gpt2_step,
    llama,
    llama_small,
    llama_step,
)


@pytest.mark.parametrize("family", [gpt2, llama])
def test_a_step_behind_a_prompt_says_what_the_longer_prompt_says(
    family: Callable[..., Model],
) -> None:
    whole, (tokens,) = family(SMALL, past=0, tokens=5)
    prompt, _ = family(SMALL, past=0, tokens=4)
    step, _ = family(SMALL, past=4)
    with torch.no_grad():
        wanted, *states = whole(tokens)
        _, *past = prompt(tokens[:, :4])
        made, *new = step(tokens[:, 4:], *past)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)
    for state, old, added in zip(states, past, new, strict=True):
        torch.testing.assert_close(torch.cat([old, added], 2), state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("made", [gpt2_prompt, gpt2_step, llama_small])
def test_integers_track_the_logits(made: Callable[[], Model]) -> None:
    module, inputs = made()
    names = ["tokens", *(f"past_{index}" for index in range(len(inputs) - 1))]
    data = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    workload = to_workload(module, inputs, calibration=data)
    values = reference.run(workload, reference.quantise_inputs(workload, data))
    logits = reference.dequantise_outputs(workload, values)[workload.outputs[0]].ravel()
    with torch.no_grad():
        wanted = module(*inputs)[0].double().numpy().ravel()
    assert logits @ wanted / np.sqrt((logits @ logits) * (wanted @ wanted)) > 0.99


def test_llama_has_the_parameters_of_its_paper_and_none_in_memory() -> None:
    module, inputs = llama_step()
    assert sum(p.numel() for p in module.parameters()) == 6_738_415_616
    assert all(p.is_meta for p in (*module.parameters(), *module.buffers(), *inputs))
