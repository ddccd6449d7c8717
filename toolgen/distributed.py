"""The only file that knows ranks. Everything is a no-op in a single process."""

import os

import torch
import torch.distributed as dist


def is_main() -> bool:
    """Whether this process writes files, talks to the terminal and to the experiment tracker."""
    return int(os.environ.get("RANK", "0")) == 0


def device() -> torch.device:
    """This process's own device: its GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def world_size() -> int:
    """Number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is set on any rank. A collective: every rank must call it."""
    if not _running():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    shared = torch.tensor(int(flag), device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())


def barrier() -> None:
    """Wait until every rank is here."""
    if _running():
        dist.barrier()


def close() -> None:
    """Leave the process group, so that the launcher sees a clean end."""
    if _running():
        dist.destroy_process_group()


def _running() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
