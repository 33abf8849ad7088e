"""Weights: states of networks as safetensors files that notice when a byte of them has become another one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tblib import TblibError
from tblib.run import replacing

TEXTS = "texts"  # of the file's metadata: all that goes with the weights, as JSON
DIGEST = "sha256"  # of the metadata: over everything else in the file


class WeightsError(TblibError):
    """A file that holds no weights, or damaged ones."""


def write_weights(path: Path, tensors: dict[str, Tensor], texts: dict[str, str] | None = None) -> None:
    """Write tensors and texts about them to `path`, with their digest, whole or not at all.

    The same tensors and texts give the same bytes: several texts would lie in the file in an order of chance.
    """
    texts, tensors = texts or {}, {name: tensor.contiguous() for name, tensor in tensors.items()}
    kept = json.dumps(texts | {DIGEST: _digest(tensors, texts)}, sort_keys=True)
    with replacing(path) as part:
        part.write_bytes(save(tensors, {TEXTS: kept}))  # save_file hides why it fails


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a safetensors file; no more memory is taken than the file itself has bytes.

    Raises:
        WeightsError: it is no such file, or not as `write_weights` wrote it. A file that brings no digest, as another
            program's, is taken as it is.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (it has no items)
        texts = json.loads(texts[TEXTS]) if TEXTS in texts else texts  # which earlier versions kept apart
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("its texts are none")
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError) as error:  # torch's and JSON's, too
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
