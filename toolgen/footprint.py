"""What a training step holds in memory, found by making the step with tensors that have shapes and no content.

Nothing here knows what an architecture computes: its own code runs, forward and backward, the plan's own code prepares
it, and every storage is counted from its birth to its end. Two and three layers are run; a step's peaks lie where the
layers are all still to come or all done, so each grows by the same amount with every further layer. Knows models and
plans; no processes, optimisers or machines, which ``toolgen.planner`` adds.

Legend: ``B`` rows, ``T`` tokens, ``n`` labels, ``V`` rows of the vocabulary, new ones included.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import astuple, dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from toolgen.attention import explicit_mask
from toolgen.errors import InputError
from toolgen.head import Head
from toolgen.plans import TrainPlan, prepare

FEW_LAYERS = 3
"""Layers that are run. The third tells what a layer adds: of two, each is a first or a last one."""

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""What architectures call the number of a layer's experts."""

_ATTENTION_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")


@dataclass(frozen=True)
class Batch:
    """What a process takes at once.

    Attributes:
        rows: Examples.
        length: Tokens of each.
        labels: Of each, tokens that carry loss.
    """

    rows: int
    length: int
    labels: int


@dataclass(frozen=True)
class Arithmetic:
    """How numbers are held.

    Attributes:
        weights: dtype of the weights.
        autocast: Whether products are computed in bf16 whatever the weights are.
        checkpointing: Whether layers are computed again in the backward instead of keeping what they need there.
    """

    weights: torch.dtype = torch.float32
    autocast: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class Instant:
    """Bytes that are alive at one moment, beside weights and optimiser.

    Attributes:
        gradients: Whole ones, of parameters.
        activations: Whatever layers left for the backward or work on.
        logits: Logits, and what the loss makes of them.
        copies: Matrices in the shape of weights: weights in another dtype, gradients that are not whole yet.
    """

    gradients: int
    activations: int
    logits: int
    copies: int


@dataclass(frozen=True)
class Footprint:
    """A model's training step.

    Attributes:
        trained: Weights that train.
        frozen: Weights that do not.
        largest: Weights of the largest matrix.
        instants: Moments at which the most is alive, of which one is the peak however gradients are spread.
    """

    trained: int
    frozen: int
    largest: int
    instants: tuple[Instant, ...]


def measure(config: PreTrainedConfig, tools: int, plan: TrainPlan, batch: Batch, arithmetic: Arithmetic) -> Footprint:
    """Footprint of a training step of a model that has one new row for each of ``tools``.

    Raises:
        InputError: What the model computes depends on numbers and not on shapes alone, as with mixtures of experts.
    """
    _check_dense(config)
    layers = config.get_text_config().num_hidden_layers
    if layers <= FEW_LAYERS:
        return measure_whole(config, tools, plan, batch, arithmetic)
    fewer, few = (
        measure_whole(_shortened(config, count), tools, plan, batch, arithmetic)
        for count in (FEW_LAYERS - 1, FEW_LAYERS)
    )
    further = layers - FEW_LAYERS

    def grown(one: int, other: int) -> int:
        return other + further * (other - one)

    instants = tuple(
        Instant(*map(grown, astuple(one), astuple(other)))
        for one, other in zip(fewer.instants, few.instants, strict=True)
    )
    return Footprint(grown(fewer.trained, few.trained), grown(fewer.frozen, few.frozen), few.largest, instants)


def measure_whole(
    config: PreTrainedConfig, tools: int, plan: TrainPlan, batch: Batch, arithmetic: Arithmetic
) -> Footprint:
    """``measure`` with all layers run, for few of them, or to see that the two agree."""
    # Adapters cannot be put into a model of fake tensors, for they swap tensors; on the meta device they can.
    with torch.device("meta"):
        model = _model(config, tools, plan, arithmetic)
    try:
        with FakeTensorMode():
            _move_to_cpu(model, arithmetic.weights)
            return _run(model, batch, arithmetic)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise _unforeseeable(config, f"what it computes depends on its input, {error}") from error


def _check_dense(config: PreTrainedConfig) -> None:
    text = config.get_text_config()
    for name in _EXPERTS:
        if (count := getattr(text, name, None)) is not None and count > 1:
            raise _unforeseeable(config, f"{count} experts a layer, of which the input chooses")


def _unforeseeable(config: PreTrainedConfig, reason: str) -> InputError:
    return InputError(
        f"The memory of a {config.model_type} model cannot be foreseen ({reason}). Give a dense model of about its "
        "size."
    )


def _shortened(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    config = deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return config


def _model(config: PreTrainedConfig, tools: int, plan: TrainPlan, arithmetic: Arithmetic) -> PreTrainedModel:
    config = deepcopy(config)
    text = config.get_text_config()
    base_rows = text.vocab_size
    text.vocab_size = base_rows + tools
    for name in _ATTENTION_DROPOUTS:
        # On a CPU, which shapes are asked of here, fused attention knows no dropout; GPUs' does and keeps no more.
        if hasattr(text, name):
            setattr(text, name, 0.0)
    model = cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, dtype=arithmetic.weights))
    prepare(model, plan, base_rows)
    if arithmetic.checkpointing:
        # There is no randomness whose state could be kept.
        keys = {"use_reentrant": False, "preserve_rng_state": False}
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=keys)
    return model.train()


def _move_to_cpu(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Attention on the meta device is not the fused one, which is asked about; peft leaves adapters there in fp32."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) not in moved:
                empty = torch.empty(parameter.shape, dtype=dtype)
                moved[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
            setattr(module, name, moved[id(parameter)])
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _run(model: PreTrainedModel, batch: Batch, arithmetic: Arithmetic) -> Footprint:
    parameters = list(model.parameters())
    books = _Books(parameters, batch.rows * batch.labels)
    autocast = torch.autocast("cpu", torch.bfloat16) if arithmetic.autocast else nullcontext()
    with books, books.gradients_of(parameters), _boundaries(model, books):
        loss = _loss(model, batch, autocast)
        books.turn("last layer")
        loss.backward()
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return Footprint(
        trained,
        sum(parameter.numel() for parameter in parameters) - trained,
        max(parameter.numel() for parameter in parameters),
        books.peaks(),
    )


def _loss(model: PreTrainedModel, batch: Batch, autocast: Any) -> Tensor:
    """``toolgen.training``'s loss, with positions that need not be looked for: shapes know no padding."""
    ids_BT = torch.zeros((batch.rows, batch.length), dtype=torch.long)
    labels_n = torch.zeros(batch.rows * batch.labels, dtype=torch.long)
    seen_BTT = torch.ones((batch.rows, batch.length, batch.length), dtype=torch.bool)
    with autocast:
        logits_nV = Head(model).logits_at(
            model,
            labels_n,
            labels_n,
            input_ids=ids_BT,
            # Prompts differ in length, so there is always a mask.
            attention_mask=explicit_mask(model, seen_BTT),
            position_ids=ids_BT,
            logits_to_keep=batch.labels,
            use_cache=False,
        )
    return F.cross_entropy(logits_nV.float(), labels_n, reduction="sum") / len(labels_n)


@contextmanager
def _boundaries(model: PreTrainedModel, books: "_Books") -> Iterator[None]:
    """Turn the books' page where the backward leaves the last layer and where it comes to the first."""
    count = model.config.get_text_config().num_hidden_layers
    layers = next(module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count)

    def mark(page: str) -> Callable[..., None]:
        def enter(_module: nn.Module, arguments: tuple[Any, ...], keys: Mapping[str, Any]) -> None:
            states = arguments[0] if arguments else keys["hidden_states"]
            if states.requires_grad and torch.is_grad_enabled():
                states.register_hook(lambda _gradient: books.turn(page))

        return enter

    handles = [layers[-1].register_forward_pre_hook(mark("between"), with_kwargs=True)]
    if count > 1:
        handles.append(layers[1].register_forward_pre_hook(mark("first layer"), with_kwargs=True))
    yield
    for handle in handles:
        handle.remove()


_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)

_Kind = Literal["gradients", "activations", "logits", "copies"]


class _Books(TorchDispatchMode):
    """Keeps account of all storages that are made inside: what kind, how large, how long.

    Of every page, a stretch of the step, it remembers two moments: when most was alive, and when most was alive without
    the gradients, for these may lie elsewhere.
    """

    def __init__(self, parameters: list[nn.Parameter], labels: int) -> None:
        super().__init__()
        self._known = {id(parameter.untyped_storage()) for parameter in parameters}
        self._matrices = {shape for each in parameters if each.ndim > 1 for shape in (each.shape, each.shape[::-1])}
        self._labels = labels
        self._alive: dict[int, tuple[weakref.ref[Any], int, _Kind]] = {}
        self._sums: dict[_Kind, int] = {"gradients": 0, "activations": 0, "logits": 0, "copies": 0}
        self._page = "forward"
        self._most: dict[tuple[str, bool], Instant] = {}

    def turn(self, page: str) -> None:
        """Begin a new page."""
        self._page = page
        self._look()

    def peaks(self) -> tuple[Instant, ...]:
        """The moments, always as many and in the same order."""
        self._look()
        # Pages stay unturned where nothing flows back; of a single layer the first is the last.
        pages = ["forward", "last layer", "first layer" if ("first layer", True) in self._most else "between"]
        return tuple(
            self._most[page, whole] for page in pages for whole in (True, False) if (page, whole) in self._most
        )

    @contextmanager
    def gradients_of(self, parameters: list[nn.Parameter]) -> Iterator[None]:
        """Inside, gradients of these are known as such when they are whole."""
        handles = [
            parameter.register_post_accumulate_grad_hook(self._whole)
            for parameter in parameters
            if parameter.requires_grad
        ]
        yield
        for handle in handles:
            handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.add.Tensor and not torch.is_grad_enabled() and _in_place(args):
            # Autograd adds gradients up in place, views excepted, but not while a mode such as this one looks on.
            func = torch.ops.aten.add_.Tensor
        result = func(*args, **(kwargs or {}))
        of_weights = func in _PRODUCTS and any(isinstance(each, Tensor) and self._is_weight(each) for each in args)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._enter(leaf, of_weights)
        return result

    def _enter(self, tensor: Tensor, of_weights: bool) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._alive or key in self._known:
            return
        kind = self._kind(tensor, of_weights)
        self._alive[key] = (weakref.ref(storage, lambda _: self._leave(key)), storage.nbytes(), kind)
        self._sums[kind] += storage.nbytes()
        self._look()

    def _leave(self, key: int) -> None:
        _, size, kind = self._alive.pop(key)
        self._sums[kind] -= size

    def _whole(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        key = id(parameter.grad.untyped_storage())
        reference, size, kind = self._alive[key]
        self._alive[key] = (reference, size, "gradients")
        self._sums[kind] -= size
        self._sums["gradients"] += size
        self._look()

    def _is_weight(self, tensor: Tensor) -> bool:
        key = id(tensor.untyped_storage())
        return key in self._known or (key in self._alive and self._alive[key][2] == "copies")

    def _kind(self, tensor: Tensor, of_weights: bool) -> _Kind:
        # With as many tokens as a matrix has rows, states look like weights; but they are products with weights.
        if tensor.shape in self._matrices and not of_weights:
            return "copies"
        return "logits" if tensor.ndim == 2 and len(tensor) == self._labels else "activations"

    def _look(self) -> None:
        now = Instant(**self._sums)
        for whole in (True, False):
            key = (self._page, whole)
            if key not in self._most or _size(now, whole) > _size(self._most[key], whole):
                self._most[key] = now


def _in_place(tensors: tuple[Any, ...]) -> bool:
    one, other = tensors[:2]
    like = isinstance(other, Tensor) and one.shape == other.shape and one.dtype == other.dtype
    return like and not one._is_view()


def _size(instant: Instant, whole: bool) -> int:
    return instant.activations + instant.logits + instant.copies + (instant.gradients if whole else 0)
