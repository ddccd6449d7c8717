"""What a training run needs on each GPU, part by part, and what to change when that is too much.

A step's tensors come from ``toolgen.footprint``; here they are spread over processes as DeepSpeed's ZeRO does
(arXiv 1910.02054), and the optimiser and DeepSpeed's own buffers are added. Knows shapes and sizes; no weights, data or
terminal.

Legend: ``P`` weights that train, ``F`` frozen ones, ``G`` processes, ``w`` bytes of a weight (2 where DeepSpeed
computes in bf16, else 4). Of a process, in bytes:

=========  ===========  ==========================  ==================  ========================================
ZeRO       weights      gradients                   optimiser           other
=========  ===========  ==========================  ==================  ========================================
0          4(P+F)       4P                          8P                  4P for their exchange where G > 1
1          w(P+F)       wP                          12P/G               a bucket of gradients
2          w(P+F)       wP/G                        12P/G               two buckets
3          w(P+F)/G     wP/G                        12P/G               a bucket, weights gathered for their turn
=========  ===========  ==========================  ==================  ========================================

The optimiser's share is AdamW's two moments in fp32 and, under DeepSpeed, a master copy of the weights in fp32. Offload
moves it and the gradients to the host, and under ZeRO-3 the weights too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from transformers import PreTrainedConfig

from toolgen.base import context_length
from toolgen.errors import InputError
from toolgen.footprint import Arithmetic, Batch, Footprint, Instant, measure
from toolgen.plans import TrainPlan

PLANS = ("full", "rows+lora", "rows")
"""Names of the plans, the one that trains most first."""

BUCKET = 500_000_000
"""Gradients that DeepSpeed exchanges at once (``reduce_bucket_size``). The buffer is made whole however small the model
is; ``configs/deepspeed`` leaves it at this default."""

GATHERED = 1_000_000_000
"""Weights that ZeRO-3 keeps gathered at most, beside the ones in use (``stage3_max_live_parameters``)."""

SUBGROUP = 1_000_000_000
"""Weights of which ZeRO-3 makes a step at once (``sub_group_size``)."""

RUNTIME = 1_000_000_000
"""Bytes of a GPU that no tensor can have: CUDA's context with PyTorch's kernels, cuBLAS's workspace, NCCL's buffers.
Rounded up from some 0.5 GB and 0.1 GB and 0.3 GB; they vary with the machine."""

FRAGMENTATION = 0.05
"""Share of a GPU's memory that PyTorch's allocator may hold in pieces of the wrong size."""


@dataclass(frozen=True)
class Settings:
    """How a run is set up.

    Attributes:
        gpus: Processes, one a GPU, over all nodes.
        zero: ZeRO's stage; 0 is a run without DeepSpeed.
        offload: Whether DeepSpeed holds what it can on the host.
        batch: Examples that a GPU takes at once (``training.micro_batch_size``).
        accumulation: How often it does so before the optimiser's step; from 2 on, gradients wait from one to the next.
        length: Tokens of prompt and answer (``training.max_length``).
        labels: Tokens of an example that carry loss: code and end.
        checkpointing: ``training.gradient_checkpointing``.
        precision: ``training.precision``.
    """

    gpus: int = 1
    zero: int = 0
    offload: bool = False
    batch: int = 8
    accumulation: int = 1
    length: int = 64
    labels: int = 2
    checkpointing: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        for name, least in (("gpus", 1), ("batch", 1), ("accumulation", 1), ("labels", 1), ("length", self.labels)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}. Give at least {least}.")
        if self.zero not in (0, 1, 2, 3):
            raise InputError(f"The ZeRO stage is {self.zero}. Choose 1, 2 or 3, or 0 for a run without DeepSpeed.")
        if self.offload and self.zero < 2:
            raise InputError(f"Offload needs ZeRO 2 or 3, and the stage is {self.zero}. Add --zero 2, or leave it out.")

    @property
    def arithmetic(self) -> Arithmetic:
        """DeepSpeed turns the weights themselves into bf16; without it products alone are computed in bf16."""
        bf16 = self.precision == "bf16"
        return Arithmetic(
            weights=torch.bfloat16 if bf16 and self.zero else torch.float32,
            autocast=bf16 and not self.zero,
            checkpointing=self.checkpointing,
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of a weight."""
        return self.arithmetic.weights.itemsize


@dataclass(frozen=True)
class Prediction:
    """Bytes on each GPU at the moment when they are most.

    Attributes:
        weights: Trained and frozen.
        gradients: Of the trained ones.
        optimizer: Moments, and master weights where they are others.
        activations: What layers keep for the backward or work on.
        logits: Logits, and what the loss makes of them.
        other: Copies of weights and of gradients in passing, and DeepSpeed's buffers.
        trained: Weights that train, in number.
        host: Bytes of the host's memory that each process takes by offload.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    other: int
    trained: int
    host: int

    @property
    def total(self) -> int:
        """Of all parts on the GPU."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.other

    def fits(self, memory: float) -> bool:
        """Whether a GPU of so many bytes is enough."""
        return self.total <= memory * (1 - FRAGMENTATION) - RUNTIME


def predict(config: PreTrainedConfig, tools: int, plan: TrainPlan, settings: Settings) -> Prediction:
    """Peak memory of a training step on each GPU.

    Args:
        config: Of the base model.
        tools: New rows.
        plan: What trains.
        settings: How.

    Raises:
        InputError: Texts are longer than the model's context, or its memory cannot be foreseen.

    Example:
        >>> config = AutoConfig.from_pretrained("meta-llama/Llama-3.1-8B")
        >>> predict(config, 47_000, TrainPlan(train="full"), Settings(gpus=8, zero=3, precision="bf16")).total
    """
    return Planner(config, tools).predict(plan, settings)


class Planner:
    """Predictions for one model and number of tools; what was measured once is kept."""

    def __init__(self, config: PreTrainedConfig, tools: int) -> None:
        if tools < 1:
            raise InputError(f"The number of tools is {tools}. Give at least 1.")
        self._config = config
        self._tools = tools
        self._measured: dict[tuple[TrainPlan, Batch, Arithmetic], Footprint] = {}

    def predict(self, plan: TrainPlan, settings: Settings) -> Prediction:
        """See ``predict``."""
        context = context_length(self._config)
        if context is not None and settings.length > context:
            raise InputError(f"The length is {settings.length}, but the model's context holds {context} tokens.")
        batch = Batch(settings.batch, settings.length, settings.labels)
        key = plan, batch, settings.arithmetic
        if key not in self._measured:
            self._measured[key] = measure(self._config, self._tools, *key)
        return spread(self._measured[key], settings)

    def advise(self, plan: TrainPlan, settings: Settings, memory: float) -> str:
        """One sentence: what to change so that a plan which does not fit into so many bytes of a GPU's memory does.

        One change is better than several, and whatever leaves the step as it is better than another plan.
        """
        # The search takes seconds, so the ends that it could come to are looked at first.
        possible = any(self.predict(plan, end).fits(memory) for end in _leanest(settings))
        for changed in _changes(settings) if possible else ():
            done = self.predict(plan, changed)
            if done.fits(memory):
                host = f" and {done.host / 1e9:,.0f} GB of host memory for each GPU" if done.host else ""
                return f"{plan.train} fits with {_options(settings, changed)}: {done.total / 1e9:,.1f} GB{host}."
        for other in PLANS[PLANS.index(plan.train) + 1 :]:
            if self.predict(TrainPlan(train=other), settings).fits(memory):
                return f"{plan.train} does not fit whatever is changed here; {other} does as it is."
        return f"{plan.train} does not fit whatever is changed here. Take more GPUs, larger ones, or a smaller model."


def spread(footprint: Footprint, settings: Settings) -> Prediction:
    """A step's tensors, laid out over processes: the largest of its moments."""
    moments = [_at(footprint, settings, instant) for instant in footprint.instants]
    return max([*moments, _at_update(footprint, settings)], key=lambda moment: moment.total)


def _at(footprint: Footprint, settings: Settings, instant: Instant) -> Prediction:
    """A moment of forward or backward."""
    size, trained, gpus = settings.weight_bytes, footprint.trained, settings.gpus
    buffers = 0
    if settings.zero:
        buffers = BUCKET * size * (2 if settings.zero == 2 else 1)
    elif gpus > 1:
        # DistributedDataParallel exchanges gradients in buckets of its own, which together are as large as they.
        buffers = 4 * trained
    # Under ZeRO-3 gradients have their place from the start.
    early = settings.accumulation > 1 or settings.zero == 3
    gradients = size * trained if early else instant.gradients
    if settings.offload:
        gradients = 0
    elif settings.zero >= 2:
        gradients = _share(gradients, gpus)
    return replace(
        _standing(footprint, settings),
        gradients=gradients,
        activations=instant.activations,
        logits=instant.logits,
        other=instant.copies + buffers + _gathered(footprint, settings),
    )


def _at_update(footprint: Footprint, settings: Settings) -> Prediction:
    """The optimiser's step. Activations and buckets are gone; DeepSpeed lays its part of the gradients side by side
    and, from bf16, makes it fp32."""
    size, trained, gpus = settings.weight_bytes, footprint.trained, settings.gpus
    standing = _standing(footprint, settings)
    if not settings.zero:
        return replace(standing, gradients=4 * trained, other=4 * trained if gpus > 1 else 0)
    if settings.offload:
        return standing
    own = _share(trained, gpus)
    once = min(own, SUBGROUP) if settings.zero == 3 else own
    return replace(standing, gradients=size * own, other=once * (size + (4 if size == 2 else 0)))


def _standing(footprint: Footprint, settings: Settings) -> Prediction:
    """What is there from the first moment to the last."""
    size, gpus, trained = settings.weight_bytes, settings.gpus, footprint.trained
    weights = size * (trained + footprint.frozen)
    if settings.zero == 3:
        weights = _share(weights, gpus)
    optimizer = _share(12 * trained, gpus) if settings.zero else 8 * trained
    host = 0
    if settings.offload:
        # Beside the optimiser the host holds gradients in fp32 and new weights on their way back.
        host = optimizer + _share((4 + size) * trained, gpus) + (weights if settings.zero == 3 else 0)
        optimizer, weights = 0, 0 if settings.zero == 3 else weights
    return Prediction(weights, 0, optimizer, 0, 0, 0, trained, host)


def _gathered(footprint: Footprint, settings: Settings) -> int:
    if settings.zero < 3 or (settings.gpus == 1 and not settings.offload):
        return 0
    most = min(footprint.trained + footprint.frozen, GATHERED + footprint.largest)
    return settings.weight_bytes * most


def _share(count: int, gpus: int) -> int:
    return -(-count // gpus)


def _changes(settings: Settings) -> Iterator[Settings]:
    """Other settings for the same step, those that cost little time before those that cost much."""
    yield replace(settings, precision="bf16")
    stages = range(settings.zero, 4) if settings.gpus > 1 else (settings.zero,)
    for zero in stages:
        yield replace(settings, zero=zero)
    yield from _smaller(settings)
    yield replace(settings, checkpointing=True)
    lean = replace(settings, precision="bf16", zero=stages[-1])
    yield from _thrifty(lean)
    for zero in (max(settings.zero, 2), 3):
        yield replace(lean, zero=zero, offload=True)
    yield from _thrifty(replace(lean, zero=3, offload=True))


def _leanest(settings: Settings) -> Iterator[Settings]:
    """Of everything that can be changed, all of it; small models are better off without DeepSpeed's buffers."""
    least = replace(settings, batch=1, accumulation=settings.batch * settings.accumulation, checkpointing=True)
    yield least
    yield replace(least, precision="bf16")
    yield replace(least, precision="bf16", zero=3, offload=True)


def _thrifty(settings: Settings) -> Iterator[Settings]:
    yield settings
    yield from _smaller(settings)
    again = replace(settings, checkpointing=True)
    yield again
    yield from _smaller(again)


def _smaller(settings: Settings) -> Iterator[Settings]:
    """The same step made of more and smaller batches."""
    while settings.batch > 1:
        batch = settings.batch // 2
        # Rounded up: a step of fewer examples would be another one.
        times = -(-settings.batch * settings.accumulation // batch)
        settings = replace(settings, batch=batch, accumulation=times)
        yield settings


def _options(before: Settings, after: Settings) -> str:
    """What to add to the command line."""
    options = []
    for field in fields(Settings):
        value = getattr(after, field.name)
        if value != getattr(before, field.name):
            options.append(f"--{field.name}" if value is True else f"--{field.name} {value}")
    return " ".join(options)
