"""Machines with cards that this one has not: what is done to them is written down, or refused."""

from contextlib import nullcontext

import torch
import torch._dynamo  # the optimiser would import it later, where there are no cards yet
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TouchedError(Exception):
    """Something reached for a card that it has no business with."""


def refuse_cards(monkeypatch) -> None:
    """As on a machine with two CUDA cards, where whatever would open a context on one of them raises."""

    def refuse(*_, **__):
        raise TouchedError

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)  # opens none by itself
    for name in ("_lazy_init", "get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all", "current_device"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    for name in ("get_rng_state", "set_rng_state", "manual_seed"):
        monkeypatch.setattr(torch.mps, name, refuse)


def noted_generators(monkeypatch) -> list[tuple]:
    """What is asked of the generators of CUDA cards and of MPS, in turn."""
    noted = []
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: noted.append(("cuda", "current", device)) or nullcontext())
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: noted.append(("cuda", "seed all", seed)))
    for module in (torch.cuda, torch.mps):
        name = module.__name__.split(".")[1]
        monkeypatch.setattr(
            module, "get_rng_state", lambda device, name=name: noted.append((name, "get", device)) or "state"
        )
        monkeypatch.setattr(
            module, "set_rng_state", lambda state, device, name=name: noted.append((name, "set", state, device))
        )
        monkeypatch.setattr(module, "manual_seed", lambda seed, name=name: noted.append((name, "seed", seed)))
    return noted


class NoWaiting(TorchDispatchMode):
    """Takes the meta device for a card, and refuses what the host would wait in.

    That is a copy to the card that blocks, any copy back, and tensors of both in one call.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        places = {one.device.type for one in given if one.dim()}  # a single number is passed on with the call
        blocking = not kwargs.get("non_blocking", len(args) > 2 and args[2] is True)
        if func is torch.ops.aten.copy_.default and given[0].device != given[1].device:
            assert given[0].is_meta, "a copy back to the host"
            assert not blocking, "a blocking copy"
        elif func is torch.ops.aten._to_copy.default and kwargs.get("device", given[0].device) != given[0].device:
            assert not given[0].is_meta, "a copy back to the host"
            assert not blocking, "a blocking copy"
        else:
            assert len(places) < 2, f"{func} on tensors of host and card"
        return func(*args, **kwargs)
