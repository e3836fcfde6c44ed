"""Folded = unfolded, to 1e-10 in float64, whatever the CNN; and the twin follows its network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lewel.model.branch import Branch, Path
from lewel.model.encoder import Encoder
from lewel.model.folding import Folded, pairs
from lewel.model.head import MLP
from lewel.model.maps import Coupled, Uniform

SIZE = 64


def randomise(network: nn.Module) -> None:
    """Statistics and weights as after training: nothing at 0 or 1."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)


def branch(name: str) -> Branch:
    encoder = Encoder(name)
    width = encoder.map_shape(SIZE)[0]
    heads = {term: MLP(width, (16,), 8, bias="all" if name == "resnet18" else "none") for term in ("global", "aligned")}
    network = Branch(
        encoder,
        nn.ModuleDict({"global": Uniform(), "aligned": Coupled(1.0)}),
        nn.ModuleDict(heads),
        (Path("global", "global", 1, None, fixed=True), Path("aligned", "aligned", 2, "global", fixed=False)),
    )
    randomise(network)
    return network.double().eval()


@torch.no_grad()
def largest_difference(network: Branch, twin: nn.Module, images: torch.Tensor) -> float:
    expected, found = network(images), twin(images)
    pairs_of_tensors = [(found.features.tokens, expected.features.tokens)]
    pairs_of_tensors += [(found.maps[name], expected.maps[name]) for name in expected.maps]
    pairs_of_tensors += [(found.embeddings[name], expected.embeddings[name]) for name in expected.embeddings]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs_of_tensors)


ENCODERS = {  # and how many of its batch norms have no layer of their own before them
    "resnet18": 0,
    "resnet50": 0,
    "efficientnet_b0": 0,
    "mobilenetv3_small_050": 0,
    "convnext_atto": 0,
    "regnetx_002": 0,
    "tf_efficientnet_b0": 0,  # its padding depends on the input's size
    "densenet121": 62,  # norm, then convolution
    "resnetv2_50": 17,
    "test_byobnet": 0,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_folded_is_unfolded(name: str) -> None:
    network = branch(name)
    images = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64)
    found = pairs(network, images[:1])
    folded = Folded(network, found, None)
    assert largest_difference(network, folded.twin, images) < 1e-10

    left = {n for n, m in folded.twin.named_modules() if isinstance(m, _BatchNorm)}
    assert {"projectors.global.norm", "projectors.aligned.norm"} <= {pair.norm for pair in found}
    used = {n for n in left if n != "encoder.backbone.norm_head"}
    assert len(used) == ENCODERS[name], used

    with torch.no_grad():  # the network moves on
        for parameter in network.parameters():
            parameter.mul_(1.1)
    randomise(network.encoder)
    assert largest_difference(network, folded.twin, images) > 1e-3
    folded.refresh()
    assert largest_difference(network, folded.twin, images) < 1e-10


def test_a_layer_that_feeds_two_batch_norms_is_left_alone() -> None:
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.first, self.second = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x):
            y = self.layer(x)
            return self.first(y) + self.second(y).relu()

    network = Fork()
    randomise(network)
    network.double().eval()
    x = torch.randn(5, 3, dtype=torch.float64)
    assert pairs(network, x) == []
    torch.testing.assert_close(Folded(network, [], None).twin(x), network(x))


def test_looking_for_pairs_changes_nothing() -> None:
    network = branch("test_resnet").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pairs(network, torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_in_bfloat16_the_twin_stays_near() -> None:
    network = branch("test_resnet").float()
    images = torch.randn(2, 3, SIZE, SIZE)
    folded = Folded(network, pairs(network, images[:1]), torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = folded.twin(images).embeddings["global"]
    expected = network(images).embeddings["global"]
    assert all(p.dtype == torch.bfloat16 for p in folded.twin.encoder.parameters())
    assert (found - expected).norm() < 0.05 * expected.norm()
