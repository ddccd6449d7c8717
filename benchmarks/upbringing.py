"""What a small decoder can do before its first stage: repeat what stands in its text. Knows decoders; no tools and no
tasks.

An agent's arguments are mostly copies: names out of queries, ids out of observations. A decoder from scratch finds out
how to copy only after millions of tokens, and until then learns which names are frequent instead. So it starts with two
heads that together copy (an induction head, Olsson et al., arXiv 2209.11895), as weights may start near what training
finds anyway (Trockman and Kolter, arXiv 2305.09828), and then recalls invented facts until it does so exactly.

Legend: ``D`` width, ``K`` width of a head, ``C`` of a head's dimensions those that carry content.
"""

import itertools
import random
import uuid
from collections.abc import Iterator

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from toolgen.benchmarks.decoder import Document, Shape, document_windows, fit_decoder, start_decoder

CONTEXT = 192
"""Tokens of a window; facts and what is asked of them fit in several times."""
BATCH = 8
LEARNING_RATE = 1e-3

_TURNING = 12
"""Pairs of a head's dimensions that turn fast with the distance (rotary embedding): they tell neighbours apart. What
turns slowly carries content."""
_LOOK_BACK = 60.0
"""How much a token prefers its neighbour to others."""
_MATCH = 1.5
"""How much it prefers what follows its like."""
_COPIED = 6.0
"""Length of what is copied, in lengths of an embedding."""


def copying_decoder(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """A random Llama with biases in its attention, without which no head could look at a place whatever stands there;
    its first two layers copy.

    Args:
        shape: Two layers at least, and heads of 32 dimensions at least.
        tokenizer: Gives the vocabulary.
        seed: Of the weights.
    """
    # Content is matched over whole episodes: most dimensions have to turn slowly.
    model = start_decoder(
        shape, tokenizer, seed, attention_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _start_copying(model)
    return model


@torch.no_grad()
def _start_copying(model: LlamaForCausalLM) -> None:
    """Write an induction head into the first two layers.

    The first head of the first layer looks at the token before, by its biases alone, and notes what stands there. The
    first head of the second layer looks for the token whose note is the current token, and says what stands there.
    """
    width = model.config.hidden_size
    head = width // model.config.num_attention_heads
    content = head - 2 * _TURNING
    # Directions of the residual stream: what is read of a token, where it is noted, and what is said.
    directions_DD = torch.nn.init.orthogonal_(torch.empty(width, width))
    read_CD, noted_CD, said_KD = directions_DD[:content], directions_DD[content : 2 * content], directions_DD[-head:]
    embedding = model.config.initializer_range * width**0.5
    for layer in model.model.layers:
        # What the other heads and layers add must not drown tokens and notes.
        layer.self_attn.o_proj.weight.mul_(0.1)
        layer.mlp.down_proj.weight.mul_(0.1)
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    for projection in (first.q_proj, first.k_proj, first.v_proj, second.q_proj, second.k_proj, second.v_proj):
        projection.weight[:head] = 0
    for attention in (first, second):
        attention.o_proj.weight[:, :head] = 0
    turns = model.model.rotary_emb.inv_freq[:_TURNING]
    strength = _LOOK_BACK**0.5
    first.q_proj.bias[:_TURNING] = strength
    # The same vector, turned by one place.
    first.k_proj.bias[:_TURNING] = strength * turns.cos()
    first.k_proj.bias[head // 2 : head // 2 + _TURNING] = strength * turns.sin()
    first.v_proj.weight[:content] = read_CD
    # A normalised state is as long as the root of its width; what is read of it is shorter.
    first.o_proj.weight[:, :content] = noted_CD.T * embedding / content**0.5
    slow = [place for place in range(head) if place % (head // 2) >= _TURNING]
    second.q_proj.weight[slow] = _MATCH * read_CD
    second.k_proj.weight[slow] = _MATCH * noted_CD
    second.v_proj.weight[:head] = said_KD
    second.o_proj.weight[:, :head] = said_KD.T * _COPIED * embedding / (0.5 * head**0.5)


def bring_up(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, steps: int, seed: int) -> LlamaForCausalLM:
    """Have a decoder recall invented facts; only what can be recalled is learned.

    Args:
        model: Is changed.
        tokenizer: Its pieces are what words are invented from.
        steps: Of ``BATCH`` windows of ``CONTEXT`` tokens.
        seed: Of facts and order.
    """
    pieces = [piece for piece in tokenizer.get_vocab() if piece.isascii() and piece.isalpha()]
    windows_NT, labels_NT = document_windows(tokenizer, facts(sorted(pieces), seed), CONTEXT, steps * BATCH)
    return fit_decoder(model, windows_NT, steps, BATCH, LEARNING_RATE, "auto", seed, labels_NT)


_TOLD = (
    "the {key} is {value}",
    "{key}: {value}",
    '"{key}": "{value}"',
    "{key} = {value}",
    "{value} as the {key}",
    "with {key} {value}",
    "a {key} called {value}",
)
_RECALLED = (("The {key} is ", ". "), ('{{"{key}": "', '"'), ("I take the {key} ", ". "), ('"{key}": "', '"'))
_BETWEEN = (", ", ". ", "; ", "\n", " and ")


def facts(pieces: list[str], seed: int) -> Iterator[Document]:
    """Texts without end: some invented facts, and some of them again in other words.

    Args:
        pieces: What words are made of.
        seed: Of all that is drawn.
    """
    draw = random.Random(f"facts {seed}")
    for _ in itertools.count():
        keys = list(dict.fromkeys(_word(draw, pieces, 2) for _ in range(draw.randint(1, 4))))
        values = [_value(draw, pieces) for _ in keys]
        told = [draw.choice(_TOLD).format(key=key, value=value) for key, value in zip(keys, values, strict=True)]
        text = draw.choice(_BETWEEN).join(told) + draw.choice(("\n", ". ", "?", " "))
        given = [(0, len(text))]
        for place in draw.sample(range(len(keys)), draw.randint(1, len(keys))):
            before, behind = draw.choice(_RECALLED)
            before = before.format(key=keys[place])
            given.append((len(text), len(text) + len(before)))
            text += f"{before}{values[place]}{behind}\n"
        yield Document(text, tuple(given))


def _word(draw: random.Random, pieces: list[str], most: int) -> str:
    return "".join(draw.choice(pieces) for _ in range(draw.randint(1, most)))


def _value(draw: random.Random, pieces: list[str]) -> str:
    """A name, a path, a number, an id or a few words."""
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(("-", "_", ".", "/", "")).join(_word(draw, pieces, 3) for _ in range(draw.randint(1, 3)))
    if kind < 0.65:
        return "".join(f"/{_word(draw, pieces, 2)}" for _ in range(draw.randint(1, 2)))
    if kind < 0.75:
        return str(draw.randrange(10 ** draw.randint(1, 5)))
    if kind < 0.95:
        id_ = uuid.UUID(int=draw.getrandbits(128))
        return draw.choice((id_.hex, str(id_), id_.hex[:8], f"{_word(draw, pieces, 2)}-1_{id_.hex}"))
    return " ".join(_word(draw, pieces, 2) for _ in range(draw.randint(2, 5)))
