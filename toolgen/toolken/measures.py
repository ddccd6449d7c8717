"""How well rows decide where to call and what, read off the states of labelled texts. Knows states and rows; decodes
nothing.

At every token the decoder compares the best row, plus a bias, with the best word: where it wins, a tool is called
(ToolkenGPT, arXiv 2305.11554, section 3.2). Whether that is a token where the text calls one is the *trigger*; which
tool, counted at the tokens where the text calls one, is the *tool accuracy*, the bias left out. Texts are read as they
stand: a wrong decision does not spoil the next one.

Legend: ``n`` labels, ``S`` rows, ``D`` width, ``C`` labels that are calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from toolgen.toolken.states import TextStates

_LABELS_AT_ONCE = 1 << 15


@dataclass(frozen=True)
class Decisions:
    """What rows would do at every label of some texts.

    Attributes:
        margin_n: Logit of the best row less that of the best word.
        tool_n: Number of the best row.
        gold_n: Number of the row that the text calls there, -1 for none.
        text_n: Number of the text that the label is of.
    """

    margin_n: NDArray[np.float32]
    tool_n: NDArray[np.int64]
    gold_n: NDArray[np.int64]
    text_n: NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """Figures of decisions under a bias.

    Attributes:
        precision: Of the triggers, those where the text calls a tool. This and the next three are None where every
            label is a call, so that nothing could be triggered wrongly.
        recall: Of the text's calls, those where a tool is triggered.
        f1: Their harmonic mean.
        exact_f1: As ``f1``, where only triggers of the right tool count as right.
        tool_accuracy: Of the text's calls, those at which the best row is the right one.
        calls: The text's calls.
        labels: All labels.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    exact_f1: float | None
    tool_accuracy: float
    calls: int
    labels: int


@torch.no_grad()
def decide(states: TextStates, texts: Sequence[int], rows_SD: Tensor) -> Decisions:
    """What rows would do at the labels of some texts."""
    margins, tools = [], []
    places = states.places(texts)
    for first in range(0, len(places), _LABELS_AT_ONCE):
        part = places[first : first + _LABELS_AT_ONCE]
        best = (torch.from_numpy(states.states_nD[part]) @ rows_SD.T).max(-1)
        margins.append((best.values - torch.from_numpy(states.bests_n[part])).numpy())
        tools.append(best.indices.numpy())
    return _decisions(states, texts, np.concatenate(margins), np.concatenate(tools))


@torch.no_grad()
def decide_by_neighbour(states: TextStates, known: Sequence[int], texts: Sequence[int]) -> Decisions:
    """The same by the nearest state, in cosine, of a call in other texts: what rows have to beat.

    Args:
        states: Of all texts.
        known: Numbers of the texts whose calls are the neighbours; they hold one at least.
        texts: Numbers of those to decide on.
    """
    known_n = states.places(known)
    known_C = known_n[states.labels_n[known_n] >= states.first_id]
    neighbours_CD = F.normalize(torch.from_numpy(states.states_nD[known_C]), dim=1)
    tools_C = states.labels_n[known_C] - states.first_id
    margins, tools = [], []
    places = states.places(texts)
    step = max(1, _LABELS_AT_ONCE * 64 // len(known_C))
    for first in range(0, len(places), step):
        states_nD = F.normalize(torch.from_numpy(states.states_nD[places[first : first + step]]), dim=1)
        best = (states_nD @ neighbours_CD.T).max(-1)
        margins.append(best.values.numpy())
        tools.append(tools_C[best.indices.numpy()])
    return _decisions(states, texts, np.concatenate(margins), np.concatenate(tools))


def best_bias(decisions: Decisions) -> float:
    """The bias with the highest ``exact_f1``: exact, since it can change only where a margin is passed.

    Of equal ones the least, which calls least. Without a call nothing should be triggered: the bias keeps all away.
    """
    order = np.argsort(-decisions.margin_n, kind="stable")
    margin_n = decisions.margin_n[order]
    right_n = (decisions.gold_n == decisions.tool_n)[order]
    calls = int((decisions.gold_n >= 0).sum())
    triggered_n = np.arange(1, len(margin_n) + 1)
    f1_n = 2 * np.cumsum(right_n) / (triggered_n + calls)
    # Equal margins are passed together.
    f1_n = np.where(np.append(margin_n[1:] < margin_n[:-1], True), f1_n, -1.0)
    number = int(f1_n.argmax())
    if f1_n[number] <= 0:
        return float(-margin_n[0] - 1)
    below = margin_n[number + 1] if number + 1 < len(margin_n) else margin_n[number] - 2
    return float(-(margin_n[number] + below) / 2)


def figures(decisions: Decisions, bias: float) -> Figures:
    """What decisions are worth under a bias; the other part of an empty fraction counts as 0."""
    triggered_n = decisions.margin_n + bias > 0
    called_n = decisions.gold_n >= 0
    right_n = called_n & (decisions.tool_n == decisions.gold_n)
    triggers, calls = int(triggered_n.sum()), int(called_n.sum())
    met = int((triggered_n & called_n).sum())
    told = called_n.all()
    return Figures(
        precision=None if told else met / max(1, triggers),
        recall=None if told else met / max(1, calls),
        f1=None if told else 2 * met / max(1, triggers + calls),
        exact_f1=None if told else 2 * int((triggered_n & right_n).sum()) / max(1, triggers + calls),
        tool_accuracy=int(right_n.sum()) / max(1, calls),
        calls=calls,
        labels=len(called_n),
    )


def _decisions(
    states: TextStates, texts: Sequence[int], margin_n: NDArray[np.float32], tool_n: NDArray[np.int64]
) -> Decisions:
    gold_n = np.maximum(states.labels_n[states.places(texts)] - states.first_id, -1)
    counts = [int(states.offsets[text + 1] - states.offsets[text]) for text in texts]
    return Decisions(margin_n, tool_n, gold_n, np.repeat(np.asarray(texts), counts))
