"""The only file that knows ranks and partitioned weights. Everything is trivial in a single process.

DeepSpeed's ZeRO spreads the optimiser's state (stages 1 to 3), gradients (2, 3) and weights (3) over the processes.
What is here gathers them and spreads them again, parameter by parameter, so that nothing else needs to know.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from transformers import TrainingArguments
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's state of a parameter, beside the number of steps, which is the same for all."""


def is_main() -> bool:
    """Whether this process writes files, talks to the terminal and to the experiment tracker."""
    return rank() == 0


def rank() -> int:
    """Number of this process."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device() -> torch.device:
    """This process's own device: its GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is set on any rank. A collective: every rank must call it."""
    return max(all_ranks(float(flag))) > 0


def all_ranks(value: float) -> list[float]:
    """The value of every rank, in their order, as 64-bit floats. A collective."""
    if not _running():
        return [value]
    where = "cuda" if dist.get_backend() == "nccl" else "cpu"
    values = torch.zeros(dist.get_world_size(), dtype=torch.float64, device=where)
    values[dist.get_rank()] = value
    dist.all_reduce(values)
    return values.tolist()


def on_main(work: Callable[[], None]) -> None:
    """Let the first process do something while the others wait. A collective.

    Raises:
        Exception: What ``work`` raised, on the first process.
        SystemExit: On the others, with exit code 2: the first one reports.
    """
    failure: Exception | None = None
    if is_main():
        try:
            work()
        except Exception as error:  # It is raised again below, when the others know of it.
            failure = error
    if any_rank(failure is not None):
        raise failure or SystemExit(2)


def join(arguments: TrainingArguments) -> None:
    """Bring the processes together; every collective needs it before."""
    # transformers does so when it is first asked for the device.
    assert arguments.device is not None
    assert world_size() == 1 or _running(), "the processes were not brought together"
    if arguments.deepspeed:
        import deepspeed

        # On CPU transformers leaves this to a later moment, but weights are partitioned while they are loaded.
        deepspeed.init_distributed(dist_backend=dist.get_backend() if _running() else None)


def barrier() -> None:
    """Wait until every rank is here."""
    if _running():
        dist.barrier()


def close() -> None:
    """Leave the process group, so that the launcher sees a clean end."""
    if _running():
        dist.destroy_process_group()


def finish() -> None:
    """End this process successfully, if it is one of several; everything must be written.

    The interpreter is not taken down. Gloo's threads live on where DeepSpeed still refers to their group, and one that
    lets go of a tensor during the take-down aborts a process that has done all its work (pytorch/pytorch#179291).
    """
    if world_size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _running() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def whole_weights(arguments: TrainingArguments) -> Iterator[None]:
    """Load models whole inside, where ZeRO-3 would have transformers partition them while it loads."""
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if arguments.deepspeed:
            set_hf_deepspeed_config(arguments.hf_deepspeed_config)


def whole(parameters: Sequence[torch.nn.Parameter]) -> AbstractContextManager[None]:
    """Inside, these parameters are whole on every process, to be read; ZeRO-3 spreads them otherwise. A collective."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        return nullcontext()
    import deepspeed

    return cast(AbstractContextManager[None], deepspeed.zero.GatheredParameters(list(parameters)))


@dataclass(frozen=True, slots=True)
class ParameterState:
    """What training knows of one parameter, whole, in float32 on the CPU, in the parameter's shape.

    Attributes:
        name: As in ``model.named_parameters()``.
        tensors: ``weight`` (the master copy, where the model's own weights are of low precision), and ``MOMENTS`` once
            the optimiser has made a step for it.
    """

    name: str
    tensors: Mapping[str, Tensor]


def gather_states(model: torch.nn.Module, optimizer: Any) -> Iterator[ParameterState]:
    """The state of every trainable parameter, one after another. A collective: every rank must exhaust it.

    Args:
        model: As prepared for training: a module, or DeepSpeed's engine around one.
        optimizer: As prepared for training; its core is a torch AdamW.
    """
    partitioned = _is_engine(model)
    if partitioned:
        _link_moments(optimizer.optimizer)
    for name, parameter in _trained(model):
        if partitioned:
            from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

            found = {"weight": safe_get_full_fp32_param(parameter)}
            found |= {moment: safe_get_full_optimizer_state(parameter, moment) for moment in MOMENTS}
        else:
            state = optimizer.optimizer.state.get(parameter, {})
            found = {"weight": parameter, **{moment: state[moment] for moment in MOMENTS if moment in state}}
        yield ParameterState(name, {key: value.detach().float().cpu() for key, value in found.items()})


def scatter_states(
    model: torch.nn.Module, optimizer: Any, read: Callable[[str], Mapping[str, Tensor]], steps: int
) -> None:
    """Give every trainable parameter a state that ``gather_states`` once gave, whatever the division was then.

    Args:
        model: As prepared for training.
        optimizer: As prepared for training.
        read: Name of a parameter -> its tensors.
        steps: Steps that the optimiser had made.
    """
    if _is_engine(model):
        _start_partitioned_moments(optimizer.optimizer, steps)
    for name, parameter in _trained(model):
        tensors = read(name)
        if _is_engine(model):
            _write_partitioned(parameter, tensors)
            continue
        with torch.no_grad():
            parameter.copy_(tensors["weight"])
        moments = {moment: tensors[moment].to(parameter) for moment in MOMENTS if moment in tensors}
        if moments:
            # A fused AdamW wants its count of steps where the parameter is.
            count = torch.tensor(float(steps), device=parameter.device)
            optimizer.optimizer.state[parameter] = {"step": count, **moments}


def _start_partitioned_moments(zero: Any, steps: int) -> None:
    """Make the moments of ZeRO's flat partitions, which torch's optimiser makes only in its first step."""
    for attribute in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition"):
        for flat in getattr(zero, attribute, ()):
            zero.optimizer.state[flat] = {
                "step": torch.tensor(float(steps), device=flat.device),
                **{moment: torch.zeros_like(flat) for moment in MOMENTS},
            }
    _link_moments(zero)


def _link_moments(zero: Any) -> None:
    """Tell the parameters of ZeRO 1 and 2 where their moments are.

    DeepSpeed does so after the step of the first parameter group, when those of the others do not exist yet.
    """
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _write_partitioned(parameter: torch.nn.Parameter, tensors: Mapping[str, Tensor]) -> None:
    import deepspeed
    from deepspeed.utils import (
        safe_set_full_fp32_param,
        safe_set_full_optimizer_state,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    # DeepSpeed's setters reach the optimiser's copy alone, which the model's own weight follows in the next step only.
    # Outside ZeRO-3 nothing is gathered.
    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        parameter.data.copy_(tensors["weight"])
    for key, value in tensors.items():
        if not hasattr(parameter, "ds_tensor"):
            if key == "weight":
                safe_set_full_fp32_param(parameter, value)
            else:
                safe_set_full_optimizer_state(parameter, value, key)
            continue
        # ZeRO-3 pads the last partition; DeepSpeed's own setter of whole values does not and fails there.
        size = parameter.ds_tensor.numel()
        padded = F.pad(value.flatten(), (0, size * dist.get_world_size() - value.numel()))
        own = padded[size * dist.get_rank() :][:size]
        if key == "weight":
            safe_set_local_fp32_param(parameter, own)
        else:
            safe_set_local_optimizer_state(parameter, own, key)


def _trained(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    module = getattr(model, "module", model)
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def _is_engine(model: torch.nn.Module) -> bool:
    # Asking for the class would import DeepSpeed, which takes seconds, in runs that do without it.
    return hasattr(model, "zero_optimization_stage")
