"""Evaluation protocols by name: every number that decides a result, where it is from, and a digest of them all.

    name                    what                                                                        source
    knn-k20-t0.07           vote of the 20 nearest training images                                      Wu et al. 2018
    knn-k200-t0.07          of the 200 nearest                                                          Wu et al. 2018
    linear-fast             softmax regression on cached features, to the end                           ours
    linear-byol             frozen encoder, SGD 0.4, 50 epochs, steps                                   LEWEL_B, EMAN
    linear-moco             frozen encoder, LARS 3.2, batch 4096, 90 epochs, cosine                     LEWEL_M
    linear-simsiam          the same at 1.6                                                             SimSiam
    linear-moco-sgd         frozen encoder, SGD 30, 100 epochs, steps                                   MoCo
    semi-1, semi-10         fine-tuning on 1 and 10 % of the labels                                     LEWEL, EMAN
    semi                    on the share that --fraction says, with the rates of semi-10                ours
    finetune                on all labels, with the rates of semi-10                                    ours
    faces-expression        fine-tuning with AdamW, classes drawn equally often                         FRA, AffectNet-7
    faces-expression-rafdb  the same, images drawn in a plain order                                     FRA, RAF-DB
    faces-attributes        fine-tuning of a head of three layers, many labels an image                 FRA, CelebA
    detect-voc-c4           Faster R-CNN on res4 with res5 in its head, VOC 07+12, 24,000 iterations    LEWEL, MoCo
    detect-coco-c4          Mask R-CNN likewise on COCO, 90,000 iterations                              LEWEL, MoCo
    detect-coco-fpn         Mask R-CNN on a feature pyramid, 90,000 iterations                          LEWEL, InfoMin
    detect-coco-fpn-2x      the same with 180,000                                                       LEWEL, InfoMin
    segment-voc             dilated FCN, output stride 8, 20,000 iterations                             LEWEL, mmseg
    segment-voc-fcn16       dilated FCN, output stride 16, 30,000 iterations                            MoCo
    landmarks               points of faces by heat maps and integral regression                        ours
    maps                    where a run's maps look, against masks in VOC's form, and on which views agree   ours

Who changes a number changes the name: `linear-byol[epochs=5]` cannot stand in a table as linear-byol.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from lewel.evaluate.dense.tasks import ADDED, Detection, Landmarks, Maps, Segmentation
from lewel.evaluate.tasks import Finetune, Knn, Linear, LinearFast

Task = Knn | LinearFast | Linear | Finetune | Maps | Detection | Segmentation | Landmarks
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Protocol:
    """name: with what was changed in brackets, as tables show it.  base: as published.
    image_size: None until the weights are known.  precision: "mixed" is bf16 where the hardware has it, else fp32.
    """

    base: str
    task: Task
    note: str
    source: str
    image_size: int | None = None
    precision: Literal["fp32", "mixed", "bf16", "fp16"] = "fp32"
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.base}[{','.join(self.changes)}]" if self.changes else self.base

    def task_as(self, kind: type[Kind]) -> Kind:
        """The task, which is of this kind."""
        assert isinstance(self.task, kind)
        return self.task

    def facts(self) -> dict[str, Any]:
        """For results.json: every number, and their digest.

        A field that came later enters the digest when it is not at its default: older results are still this one's.
        """
        numbers = {"kind": type(self.task).__name__.lower(), **dataclasses.asdict(self.task)}
        numbers |= {"image_size": self.image_size, "precision": self.precision}
        fields = dataclasses.fields(self.task)
        later = {each.name for each in fields if ADDED in each.metadata and numbers[each.name] == each.default}
        counted = {name: value for name, value in numbers.items() if name not in later}
        text = json.dumps({"base": self.base, **counted}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return {"name": self.name, "base": self.base, "source": self.source, **numbers, "digest": digest}


_SEMI = Finetune("sgd", 0.1, 0.01, 256, 50, 1e-4, milestones=(30, 40), bn_images=64)
_FACES = Finetune(
    "adamw", 2e-4, 2e-4, 256, 100, 0.05, warmup_epochs=5, lr_last=1e-6, head_init="normal", views="face", erase=True
)
_IN1K, _FRA = 224, 224
_VOC_C4 = Detection(
    lr=0.02,
    batch_size=16,
    iterations=24_000,
    milestones=(18_000, 22_000),
    warmup=100,
    weight_decay=1e-4,
    decay_norms=False,
    precise_bn=200,
    data="voc",
    model="c4",
    masks=False,
    extra_norm=True,
    shortest=tuple(side / 800 for side in range(480, 801, 32)),
)
_COCO_C4 = replace(
    _VOC_C4,
    iterations=90_000,
    milestones=(60_000, 80_000),
    warmup=1000,
    data="coco",
    masks=True,
    shortest=tuple(side / 800 for side in range(640, 801, 32)),
)
_COCO_FPN = replace(_COCO_C4, model="fpn", extra_norm=False)
_FCN8 = Segmentation(
    lr=0.01, batch_size=16, iterations=20_000, weight_decay=5e-4, lr_last=1e-4, model="fcn8", frame=(4.0, 1.0)
)
_FCN16 = Segmentation(
    lr=0.003,
    batch_size=16,
    iterations=30_000,
    milestones=(21_000, 27_000),
    weight_decay=1e-4,
    model="fcn16",
    frame=(4.0, 1.0),
    most_of_one=1.0,
    photometric=False,
    align_corners=True,
)
_LANDMARKS = Landmarks(
    optimizer="adam",
    lr=1e-3,
    batch_size=32,
    iterations=12_000,
    milestones=(8_000, 10_500),
    weight_decay=0.0,
    precise_bn=50,
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.base: protocol
    for protocol in (
        Protocol(
            "knn-k20-t0.07", Knn(20), "vote of the 20 nearest training images", "Wu et al. 2018, eq. 9; k as DINO"
        ),
        Protocol("knn-k200-t0.07", Knn(200), "vote of the 200 nearest training images", "Wu et al. 2018, section 4.1"),
        Protocol("linear-fast", LinearFast(), "softmax regression on cached features: a number in a minute", "ours"),
        Protocol(
            "linear-byol",
            Linear("sgd", 0.4, 256, 50, milestones=(30, 40)),
            "linear classifier, frozen encoder: SGD 0.4, 50 epochs",
            "LEWEL table 1 (LEWEL_B), section 4.1; EMAN",
            _IN1K,
        ),
        Protocol(
            "linear-moco",
            Linear("lars", 3.2, 4096, 90),
            "linear classifier, frozen encoder: LARS 3.2, batch 4096, 90 epochs",
            "LEWEL table 1 (LEWEL_M), section 4.1",
            _IN1K,
        ),
        Protocol(
            "linear-simsiam",
            Linear("lars", 1.6, 4096, 90),
            "linear-moco at the rate of SimSiam's own runs, 1.6",
            "SimSiam, appendix A",
            _IN1K,
        ),
        Protocol(
            "linear-moco-sgd",
            Linear("sgd", 30.0, 256, 100, milestones=(60, 80)),
            "linear classifier, frozen encoder: SGD 30, 100 epochs",
            "MoCo, section 4.1",
            _IN1K,
        ),
        Protocol(
            "semi-1",
            replace(_SEMI, lr=1.0, lr_encoder=1e-4, fraction=0.01),
            "fine-tuning on 1 % of the labels",
            "LEWEL table 2, section 4.2; EMAN",
            _IN1K,
        ),
        Protocol(
            "semi-10",
            replace(_SEMI, fraction=0.1),
            "fine-tuning on 10 % of the labels",
            "LEWEL table 2, section 4.2; EMAN",
            _IN1K,
        ),
        Protocol(
            "semi", _SEMI, "fine-tuning on the share of the labels that --fraction says", "ours, after semi-10", _IN1K
        ),
        Protocol("finetune", _SEMI, "fine-tuning on all labels", "ours, after semi-10", _IN1K),
        Protocol(
            "faces-expression",
            replace(_FACES, balanced=True),
            "expressions: fine-tuning with AdamW, classes drawn equally often",
            "FRA's settings for AffectNet-7",
            _FRA,
            "mixed",
        ),
        Protocol(
            "faces-expression-rafdb",
            _FACES,
            "expressions: the same, images in a plain order",
            "FRA's settings for RAF-DB",
            _FRA,
            "mixed",
        ),
        Protocol(
            "faces-attributes",
            replace(_FACES, head="mlp", erase=False, multilabel=True, epochs=30),
            "attributes: fine-tuning of a head of three layers; mean accuracy",
            "FRA's head and views for CelebA; rate and epochs, which it does not publish, ours",
            _FRA,
            "mixed",
        ),
        Protocol(
            "detect-voc-c4",
            _VOC_C4,
            "objects of VOC: Faster R-CNN, C4, trained on 07+12, 24,000 iterations",
            "LEWEL, section 4.3; MoCo's detectron2 configuration",
            800,
        ),
        Protocol(
            "detect-coco-c4",
            _COCO_C4,
            "objects and masks of COCO: Mask R-CNN, C4, 90,000 iterations (1x)",
            "LEWEL, section 4.3; MoCo's detectron2 configuration",
            800,
        ),
        Protocol(
            "detect-coco-fpn",
            _COCO_FPN,
            "the same with a feature pyramid, 90,000 iterations (1x)",
            "LEWEL, section 4.3; InfoMin's detectron2 configuration",
            800,
        ),
        Protocol(
            "detect-coco-fpn-2x",
            replace(_COCO_FPN, iterations=180_000, milestones=(120_000, 160_000)),
            "the same with 180,000 iterations (2x)",
            "LEWEL, section 4.3; InfoMin's detectron2 configuration",
            800,
        ),
        Protocol(
            "segment-voc",
            _FCN8,
            "classes of VOC's pixels: dilated FCN, output stride 8, 20,000 iterations",
            "LEWEL, section 4.3; mmsegmentation's fcn_r50-d8_512x512_20k_voc12aug",
            512,
        ),
        Protocol(
            "segment-voc-fcn16",
            _FCN16,
            "the same at output stride 16, 30,000 iterations",
            "MoCo, appendix; SlotCon's fcn_d6_r50-d16_513x513_30k_voc12aug_moco",
            513,
        ),
        Protocol(
            "landmarks",
            _LANDMARKS,
            "points of faces: heat maps and integral regression, 12,000 iterations",
            "ours, after Xiao et al. 2018 and Sun et al. 2018; 300W's error",
            256,
        ),
        Protocol(
            "maps",
            Maps(),
            "where the maps of a run look, against masks in VOC's form; --data scenes makes some",
            "ours, after Zhang et al. 2016",
        ),
    )
}
