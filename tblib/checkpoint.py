"""Network weights and training checkpoints as safetensors files with a digest that reveals damage."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tblib.arrays import TblibError
from tblib.system.files import replacing

TEXTS = "texts"  # metadata key: everything stored besides the tensors, as JSON
DIGEST = "sha256"  # metadata key: digest of everything else in the file


class WeightsError(TblibError):
    """A file that holds no weights, or damaged ones."""


def write_weights(path: Path, tensors: dict[str, Tensor], texts: dict[str, str] | None = None) -> None:
    """Write tensors, texts and their digest to `path`, atomically.
    Equal content gives equal bytes: the texts are one entry, since safetensors stores several in random order."""
    texts, tensors = texts or {}, {name: tensor.contiguous() for name, tensor in tensors.items()}
    kept = json.dumps(texts | {DIGEST: _digest(tensors, texts)}, sort_keys=True)
    with replacing(path) as part:
        part.write_bytes(save(tensors, {TEXTS: kept}))  # save_file hides the reason of a failure


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and texts of a safetensors file, using no more memory than the file's size.

    Raises:
        WeightsError: not a safetensors file, or changed since `write_weights`. Files of other programs, which have no
            digest, are not checked.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (it has no items)
        texts = json.loads(texts[TEXTS]) if TEXTS in texts else texts  # earlier versions had them as separate entries
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("its texts are none")
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError) as error:  # also torch's and JSON's
        raise WeightsError(f"{path} is no safetensors file, or a damaged one ({error}).") from error
    digest = texts.pop(DIGEST, None)
    if digest is not None and digest != _digest(tensors, texts):
        raise WeightsError(f"{path} is damaged: its weights are not those that were written into it.")
    return tensors, texts


def _digest(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    found = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@dataclass
class State:
    """Everything that training changes.

    Attributes:
        schedule: lowers the learning rate on plateaus.
        best: state of the network with the lowest validation loss, on the CPU.
        history: one row per validation.
        group_weights: float (G,), weight of each group's loss in group DRO.
    """

    cnn: nn.Module
    optimiser: Optimizer
    schedule: ReduceLROnPlateau
    best: dict[str, Tensor]
    history: list[dict[str, float]]
    group_weights: Tensor


def save_checkpoint(path: Path, state: State, fingerprint: str) -> None:
    """Write the state of the training identified by `fingerprint`, atomically."""
    optimiser = state.optimiser.state_dict()
    tensors = {f"cnn.{name}": tensor for name, tensor in state.cnn.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"adam.{i}.{name}": tensor for i, slot in optimiser["state"].items() for name, tensor in slot.items()}
    tensors["weights"] = state.group_weights
    texts = {
        "fingerprint": fingerprint,
        "groups": json.dumps(optimiser["param_groups"]),
        "schedule": json.dumps(state.schedule.state_dict()),
        "history": json.dumps(state.history),
    }
    write_weights(path, tensors, texts)


def resume(path: Path, state: State, fingerprint: str) -> None:
    """Restore `state` from the checkpoint of the same training, if there is one."""
    if not path.is_file():
        return
    try:
        tensors, texts = read_weights(path)
    except WeightsError as error:
        print(f"The checkpoint cannot be used, and the training starts from the beginning. {error}")
        return
    if texts.get("fingerprint") != fingerprint:
        print("A checkpoint of another training lies here; this one starts from the beginning.")
        return
    slots: dict[int, dict[str, Tensor]] = {}
    state.group_weights.copy_(tensors.pop("weights"))
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "best":
            state.best[rest] = tensor
        elif kind == "adam":
            slots.setdefault(int(rest.split(".")[0]), {})[rest.split(".")[1]] = tensor
    state.cnn.load_state_dict({name[4:]: tensor for name, tensor in tensors.items() if name.startswith("cnn.")})
    state.optimiser.load_state_dict({"state": slots, "param_groups": json.loads(texts["groups"])})
    for parameter, slot in state.optimiser.state.items():  # fused Adam needs all three in the same memory layout
        for name in ("exp_avg", "exp_avg_sq"):
            slot[name] = torch.empty_like(parameter, requires_grad=False).copy_(slot[name])
    state.schedule.load_state_dict(json.loads(texts["schedule"]))
    state.history = json.loads(texts["history"])
    print(f"An interrupted training resumes after epoch {state.history[-1]['epoch']:g}.")
