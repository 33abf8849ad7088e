"""Stacked CNNs: several small CNNs of one shape, trained at once as one network with their channels side by side.

The layers of a small CNN are too thin for a processor's widest vectors, and too small for a card. Their convolutions
are grouped, so that no CNN sees another's features, and its weights are those of a training of its own but for
rounding; they do not depend on which others it is stacked with. (In PyTorch's words: model ensembling.)
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from tblib.arrays import Normalisation
from tblib.dataset import TBDataset
from tblib.devices import full_precision, set_up
from tblib.mitigation import in_training
from tblib.model import CNN, is_finite
from tblib.train import Change, Segment, Training, TrainingError, new_cnn, new_optimiser, segments, set_rate, steps_of


class Stacked(nn.Module):
    """K CNNs of the same size, width and channels as one network; `cnns` lend it their heads."""

    def __init__(self, cnns: Sequence[CNN]) -> None:
        super().__init__()
        layers = [list(cnn.blocks.modules()) for cnn in cnns]
        convolutions = [of for of in zip(*layers, strict=True) if isinstance(of[0], nn.Conv2d)]
        norms = [of for of in zip(*layers, strict=True) if isinstance(of[0], nn.BatchNorm2d)]
        self._of = list(cnns)  # a list hides them from PyTorch: they are no part of the network
        self.first = nn.Parameter(_diagonal([layer.weight for layer in convolutions[0]]))
        self.own: Tensor
        self.register_buffer("own", _diagonal([torch.ones_like(layer.weight) for layer in convolutions[0]]))
        self.weights = nn.ParameterList(torch.cat([layer.weight for layer in of]) for of in convolutions[1:])
        self.norms = nn.ModuleList(nn.BatchNorm2d(len(cnns) * of[0].num_features) for of in norms)
        self.heads = nn.ModuleList(cnn.head for cnn in cnns)

    def forward(self, films: Tensor) -> Tensor:
        """Logits float (K, B) of films float (B, K * C, S, S), those of each CNN in its own channels."""
        count, features = len(self._of), films
        for place, norm in enumerate(self.norms):
            # Of few input channels the whole kernel, zeros between the CNNs included, is faster than a grouped one.
            weight, groups = (self.weights[place - 1], count) if place else (self.first * self.own, 1)
            features = F.relu(norm(F.conv2d(features, weight, padding=1, groups=groups)), inplace=True)
            features = F.max_pool2d(features, 2) if place % 2 else features
        side = self._of[0].side
        if features.shape[-1] != side:
            features = F.interpolate(features, size=(side, side))
        parts = features.chunk(count, dim=1)
        return torch.stack([head(part).squeeze(1) for head, part in zip(self.heads, parts, strict=True)])

    def parted(self) -> list[CNN]:
        """The CNNs with their weights and statistics as they are now."""
        count, channels = len(self._of), self.first.shape[1] // len(self._of)
        firsts = [part[:, k * channels :][:, :channels] for k, part in enumerate(self.first.chunk(count))]
        kernels = [firsts, *(weight.chunk(count) for weight in self.weights)]
        for k, cnn in enumerate(self._of):
            layers = list(cnn.blocks.modules())
            convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
            norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
            for convolution, of_layer in zip(convolutions, kernels, strict=True):
                convolution.weight.data = of_layer[k].detach().clone()
            for own, norm in zip(norms, self.norms, strict=True):
                state = norm.state_dict().items()
                own.load_state_dict({name: each.chunk(count)[k] if each.ndim else each for name, each in state})
            cnn.to(device=self.first.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self._of


class Part(NamedTuple):
    """One of the CNNs' films, their normalisation, and its training with all defaults filled in."""

    data: TBDataset
    by: Normalisation
    training: Training


def _diagonal(kernels: Sequence[Tensor]) -> Tensor:
    """Kernels (o, i, h, w) as one of (K * o, K * i, h, w) with zeros between them."""
    outputs, inputs = kernels[0].shape[:2]
    whole = torch.zeros(len(kernels) * outputs, len(kernels) * inputs, *kernels[0].shape[2:])
    for k, kernel in enumerate(kernels):
        whole[k * outputs : (k + 1) * outputs, k * inputs : (k + 1) * inputs] = kernel.detach()
    return whole


def can_be_stacked(sets: Sequence[TBDataset], trainings: Sequence[Training]) -> bool:
    """Whether trainings on these films can be one: alike but for seed and weight of positives, without dropout, whose
    random numbers they would share, and without group DRO; on as many films of one shape, on one device."""
    alike = set()
    for data, training in zip(sets, trainings, strict=True):
        how = replace(training, seed=0, pos_weight=1.0, mitigation=in_training(training.mitigation))
        alike.add((how, len(data), data.side, data.channels, data.device))
    return len(alike) == 1 and not trainings[0].dropout and not trainings[0].has("group_dro")


def fit_stacked(
    sets: Sequence[TBDataset], by: Sequence[Normalisation], trainings: Sequence[Training], change: Change | None = None
) -> list[CNN]:
    """Train K CNNs at once, as `tblib.train.fit` trains each of them without a validation part.

    Args:
        sets: training part of each; they and the trainings must pass `can_be_stacked`.
        by: normalisation of each.
        trainings: parameters of each.
        change: see `tblib.train.fit`.

    Raises:
        TrainingError: a weight is not finite.
    """
    each = zip(sets, by, trainings, strict=True)
    parts = [Part(data, levels, training.settled(data)) for data, levels, training in each]
    first, device = parts[0].training, sets[0].device
    set_up(first.threads)
    network = Stacked([new_cnn(part.training, part.data) for part in parts])
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = new_optimiser(network, first, device)
    with full_precision() if first.precision == "fp32" else nullcontext():
        for segment in segments(first, len(sets[0])):
            _train(network, optimiser, segment, parts, change)
    cnns = network.parted()
    if not all(is_finite(cnn) for cnn in cnns):
        raise TrainingError(f"The weights are no numbers after the last epoch; try a smaller lr than {first.lr}.")
    return cnns


def _train(
    network: Stacked, optimiser: Optimizer, segment: Segment, parts: Sequence[Part], change: Change | None
) -> None:
    """Train all CNNs for one segment. The host never waits for the device."""
    first = parts[0].training
    weights = torch.tensor([[part.training.pos_weight] for part in parts], device=parts[0].data.device)
    feeds = [steps_of(segment, *part, change) for part in parts]
    for number, of_each in zip(segment.steps, zip(*feeds, strict=True), strict=True):
        set_rate(optimiser, first, segment, number)
        inputs, targets, _ = zip(*of_each, strict=True)
        films = torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last)
        bf16 = first.precision == "bf16"
        with torch.autocast(films.device.type, torch.bfloat16) if bf16 else nullcontext():
            logits = network(films)
        weight = None if first.balanced else weights  # as in `tblib.train`
        losses = F.binary_cross_entropy_with_logits(
            logits.float(), torch.stack(targets), pos_weight=weight, reduction="none"
        )
        optimiser.zero_grad(set_to_none=True)
        losses.mean(dim=1).sum().backward()  # the gradient of each CNN is that of its own loss
        optimiser.step()
