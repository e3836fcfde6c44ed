"""--weights as a network: the features are those of timm and of the file, and what is said of them is true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from lewel import config, recipes
from lewel.errors import UserError
from lewel.evaluate import subject
from lewel.evaluate.subject import labels, open_subject
from lewel.interop import weights
from lewel.model.encoder import Encoder
from lewel.recipes import config_file

FACTS = {"recipe": "test", "image_size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
VIT = "vit_tiny_patch16_224"


@torch.no_grad()
def features(network: torch.nn.Module, size: int = 64) -> Tensor:
    return network.eval()(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    safetensors.torch.save_file(timm.create_model(VIT, num_classes=5).state_dict(), path)
    return path


def test_pooled_is_timms_own_for_a_resnet(tmp_path: Path) -> None:
    theirs = timm.create_model("resnet18", num_classes=7)
    theirs.train()(torch.randn(4, 3, 64, 64))
    torch.save(theirs.state_dict(), tmp_path / "a.pth")
    for source in (str(tmp_path / "a.pth"), f"timm:resnet18={tmp_path / 'a.pth'}"):
        found = open_subject(source)
        theirs.reset_classifier(0)
        torch.testing.assert_close(features(found.features), features(theirs), rtol=0, atol=1e-6)
        assert found.encoder is not None and torch.equal(features(found.encoder).mean((2, 3)), features(found.features))
        assert (found.name, found.width) == ("resnet18", 512)
        assert found.account.unexpected == ("fc.weight", "fc.bias")


def test_pooled_is_timms_own_for_a_vit(vit: Path) -> None:
    found = open_subject(f"timm:{VIT}={vit}")
    theirs = timm.create_model(VIT, num_classes=5)
    theirs.load_state_dict(safetensors.torch.load_file(vit))
    theirs.reset_classifier(0)
    assert torch.equal(features(found.features, 224), features(theirs, 224))
    assert found.encoder is None and (found.width, found.image_size) == (192, 224)
    assert found.mean == tuple(timm.get_pretrained_cfg(VIT).mean) == (0.5, 0.5, 0.5)
    assert found.account.unexpected == ("head.bias", "head.weight")


def test_a_vit_whose_norm_follows_its_pooling() -> None:
    """With global_pool="" timm would build it with another norm, under another name."""
    name = "vit_base_patch16_gap_224"
    found = open_subject(f"random:{name}", seed=3)
    torch.manual_seed(3)
    assert torch.equal(features(found.features, 224), features(timm.create_model(name, num_classes=0), 224))


def test_a_vit_takes_its_own_image_size_alone(vit: Path) -> None:
    found = open_subject(f"timm:{VIT}={vit}")
    assert found.data() == config.Data(224, (), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(UserError, match=rf"{VIT} does not take images of --image-size 64 .*; it takes 224") as caught:
        found.data(64)
    assert "\n" not in str(caught.value)


def test_a_vits_file_of_another_image_size(tmp_path: Path) -> None:
    small = timm.create_model(VIT, num_classes=0, img_size=64)
    safetensors.torch.save_file(small.state_dict(), tmp_path / "small.safetensors")
    with pytest.raises(UserError, match=r"pos_embed \(1, 17, 192\).*give weights for images of 224 px") as caught:
        open_subject(f"timm:{VIT}={tmp_path / 'small.safetensors'}")
    assert "\n" not in str(caught.value)


def test_an_encoder_is_asked_for_where_a_map_is_needed(vit: Path) -> None:
    with pytest.raises(UserError, match=rf"{VIT} returns vectors; a CNN with a \(b, c, h, w\) map is needed"):
        weights.load_encoder(f"timm:{VIT}={vit}")


def test_a_file_says_how_its_images_are_shown(tmp_path: Path) -> None:
    weights.save_encoder(Encoder("resnet18", "small"), tmp_path / "encoder.safetensors", FACTS)
    found = open_subject(str(tmp_path))
    assert found.data() == config.Data(32, (), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert found.data(64).image_size == 64 and found.name == "resnet18, small stem"
    untrained = open_subject(f"random:{tmp_path}", seed=2)
    assert untrained.data() == found.data() and untrained.name == found.name
    assert untrained.notes == ("untrained, seed 2",) and found.notes == ()
    with pytest.raises(UserError, match=r"random:resnet18 does not say .* give --image-size"):
        open_subject("random:resnet18").data()
    assert open_subject("random:resnet18").data(64) == config.Data(64, ())


def test_facts_can_be_written_and_name_every_tensor(tmp_path: Path) -> None:
    theirs = timm.create_model("resnet18", num_classes=7).state_dict()
    torch.save({n: t for n, t in theirs.items() if n != "bn1.num_batches_tracked"}, tmp_path / "moco.pth")
    facts = json.loads(json.dumps(open_subject(str(tmp_path / "moco.pth")).facts()))
    assert facts["architecture"] == "resnet18" and facts["stem"] == "imagenet"
    assert facts["tensors"] == {"loaded": 119, "missing": ["bn1.num_batches_tracked"], "unused": {"fc": 2}}
    assert facts["image_size"] is None and facts["mean"] == list(config.IMAGENET_MEAN)
    assert "CC BY-NC" in facts["notes"][-1] and len(facts["digest"]) == 64


def test_a_label_names_the_place_in_a_file() -> None:
    assert labels(["a/dino.pth#student", "timm:resnet18=a/dino.pth#teacher"]) == [
        "dino-student",
        "resnet18-dino-teacher",
    ]


def test_untrained_weights_follow_their_seed_and_nothing_else() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (open_subject("random:resnet10t", seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert first.digest == again.digest != other.digest


def test_random_of_a_run_is_what_the_run_began_from(tmp_path: Path) -> None:
    """The last batch norms of its blocks too, of which its weights say nothing."""
    recipe = recipes.get("lewel_b_tiny")
    assert recipe.method.encoder.zero_init_last
    (tmp_path / "config.yaml").write_text(config_file.to_yaml(recipe))
    weights.save_encoder(Encoder("resnet18"), tmp_path / "encoder.safetensors", FACTS)
    torch.manual_seed(4)
    expected = Encoder.from_config(recipe.method.encoder).backbone.state_dict()
    assert open_subject(f"random:{tmp_path}", seed=4).digest == subject.digest(expected)


def test_the_digest_sees_every_bit_and_no_order() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}
    digest = subject.digest(tensors)
    assert digest == subject.digest(dict(reversed(tensors.items())))
    assert digest == subject.digest(tensors | {"a": torch.arange(6.0).reshape(2, 3).T.contiguous().T})
    flipped = tensors["a"].clone()
    flipped.view(torch.int32)[1, 2] ^= 1
    others = [
        {"a": flipped},
        {"a": tensors["a"].reshape(3, 2)},
        {"a": tensors["a"].view(torch.int32)},
        {"b": torch.tensor(3, dtype=torch.int32)},
        {"d": torch.ones(1)},
    ]
    digests = {subject.digest(tensors | other) for other in others}
    assert len(digests) == len(others) and digest not in digests
    assert subject.digest({"a": tensors["b"], "b": tensors["a"]}) != subject.digest(
        {"a": tensors["a"], "b": tensors["b"]}
    )


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["runs/a", "random:runs/a", "random:resnet18"], ["a", "random-a", "random-resnet18"]),
        (["runs/a/encoder.safetensors", "timm:resnet18", "timm:vit=f/x.pth.tar"], ["a", "timm-resnet18", "vit-x"]),
        (["a/x.pth", "b/x.pth", "b/y.pth"], ["a-x", "b-x", "y"]),
        (["1/runs/x", "2/runs/x"], ["1-runs-x", "2-runs-x"]),
        (["runs/a", "runs/a", "Runs/A"], ["runs-a", "runs-a-2", "Runs-A-3"]),
        (["/x/my weights: 50%.pth"], ["my_weights_50"]),
        (["timm:resnet50.a1_in1k", "../lewel.v2/"], ["timm-resnet50.a1_in1k", "lewel.v2"]),
    ],
)
def test_labels(sources: list[str], expected: list[str]) -> None:
    assert labels(sources) == expected
