"""LEWEL_B, all of it, in one file: plain PyTorch, one process, a folder of images.

    python lewel_in_one_file.py IMAGES --arch resnet18 --image-size 64 --batch-size 128 --epochs 10 --out encoder.pt

The method (Huang et al., "Learning Where to Learn in Cross-View Self-Supervised Learning", CVPR 2022) in four
sentences. A projector turns the pooled features of an image into an embedding, as in BYOL. The same projector, applied
to every position of the feature map, says *where to look*: each of its d output channels, softmaxed over the positions,
is an alignment map. Each map pools the features into one aligned vector, which a second projector embeds. The loss asks
the embeddings of one view, global and aligned, to predict those that a slowly moving copy of the network makes of
the other.

Read `Branch.forward` first, then `LEWEL.forward`. A test holds this file's loss, gradients and training steps to the
package's. What the package adds: several processes, resuming, health checks, the other methods.

Letters: b images, p positions of the feature map, c its channels, d embedding size, g channel groups, n = d / g.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision import transforms as T  # noqa: N812

# ---------------------------------------------------------------------------------------------------------------------
# The network


def head(width: int, hidden: int, out: int) -> nn.Sequential:
    """Projector or predictor: linear, batch norm, ReLU, linear; on rows (rows, width)."""
    first, last = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, out, bias=False)
    for linear in (first, last):
        nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(), last)


class Branch(nn.Module):
    """Images to one global and n aligned embeddings. There are two of it: online, and the target that follows."""

    def __init__(self, arch: str, hidden: int, dim: int, groups: int):
        super().__init__()
        self.encoder = getattr(torchvision.models, arch)()
        width = self.encoder.fc.in_features
        self.encoder.fc = nn.Identity()  # so that the saved encoder loads into torchvision's, with nothing left over
        self.project = head(width, hidden, dim)
        self.project_aligned = head(width, hidden, dim)
        self.groups = groups

    def feature_map(self, images: Tensor) -> Tensor:
        e = self.encoder
        x = e.maxpool(e.relu(e.bn1(e.conv1(images))))
        return e.layer4(e.layer3(e.layer2(e.layer1(x))))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (b, 3, h, w) -> z (b, d) and u (b, n, d)"""
        x = self.feature_map(images).flatten(2).transpose(1, 2)  # (b, p, c)
        b, p, _ = x.shape

        # One call for the pooled vector and all positions: both have the same head and the same batch norm statistics.
        rows = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)  # (b, 1 + p, c)
        rows = self.project(rows.flatten(0, 1)).view(b, 1 + p, -1)
        z, heat = rows[:, 0], rows[:, 1:]  # (b, d), (b, p, d)

        # Where to look. Unit vectors first, so that no position shouts; then each channel is softmaxed over positions.
        maps = F.normalize(heat, dim=2).softmax(dim=1)  # (b, p, d), sums to 1 over p

        # Group i of the channels is pooled by group i of the maps, and vector k takes the k-th map of each group.
        y = torch.einsum("bpgc,bpgn->bngc", x.unflatten(2, (self.groups, -1)), maps.unflatten(2, (self.groups, -1)))
        y = y.flatten(2)  # (b, n, c)
        u = self.project_aligned(y.flatten(0, 1)).view(b, y.shape[1], -1)
        return z, u


class LEWEL(nn.Module):
    """LEWEL_B: predict the target's embeddings of the other view, in both directions.

    beta weighs the aligned term, 1 - beta the global one. momentum: what the target keeps of itself at the first step.
    """

    def __init__(
        self,
        arch: str = "resnet50",
        hidden: int = 4096,
        dim: int = 256,
        groups: int = 4,
        beta: float = 0.5,
        momentum: float = 0.98,
    ):
        super().__init__()
        self.online = Branch(arch, hidden, dim, groups)
        self.predict, self.predict_aligned = head(dim, hidden, dim), head(dim, hidden, dim)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.beta, self.momentum = beta, momentum

    def train(self, mode: bool = True) -> LEWEL:
        """The target is always in eval mode: it uses running statistics, which follow the online ones (EMAN)."""
        super().train(mode)
        self.target.eval()
        return self

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        return self.direction(view1, view2) + self.direction(view2, view1)

    def direction(self, seen: Tensor, other: Tensor) -> Tensor:
        z, u = self.online(seen)
        with torch.no_grad():
            z_target, u_target = self.target(other)
        predicted = self.predict_aligned(u.flatten(0, 1)).view_as(u)
        return (1 - self.beta) * apart(self.predict(z), z_target) + self.beta * apart(predicted, u_target)

    @torch.no_grad()
    def move_target(self, step: int, total_steps: int) -> None:
        """After each optimizer step: weights and running statistics follow, ever more slowly."""
        m = 1 - (1 - self.momentum) * (math.cos(math.pi * step / total_steps) + 1) / 2
        for mine, online in zip(self.target.state_dict().values(), self.online.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(online, 1 - m)
            else:  # batch norm's counters
                mine.copy_(online)


def apart(a: Tensor, b: Tensor) -> Tensor:
    """2 - 2 cos(a, b), the squared distance of the unit vectors; the mean over all rows."""
    return 2 - 2 * F.cosine_similarity(a, b, dim=-1).mean()


# ---------------------------------------------------------------------------------------------------------------------
# The optimizer


class LARS(torch.optim.Optimizer):
    """SGD, with a rate for each tensor by its norm. Biases and batch norm weights (1-d) get plain SGD without decay."""

    def __init__(self, parameters, lr: float, weight_decay: float = 1e-6, momentum: float = 0.9, trust: float = 1e-3):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for w in (w for w in group["params"] if w.grad is not None):
                update, local = w.grad, 1.0
                if w.ndim > 1:
                    w_norm, g_norm = w.norm(), w.grad.norm()
                    rate = group["trust"] * w_norm / (g_norm + group["weight_decay"] * w_norm)
                    local = torch.where((w_norm > 0) & (g_norm > 0), rate, torch.ones_like(rate))
                    update = update.add(w, alpha=group["weight_decay"])
                buffer = self.state[w].setdefault("momentum_buffer", torch.zeros_like(w))
                buffer.mul_(group["momentum"]).add_(update * local, alpha=group["lr"])  # the rate is inside the buffer
                w.sub_(buffer)


def learning_rate(step: int, peak: float, steps_per_epoch: int, epochs: int, warmup: int) -> float:
    """Linear warm-up, step by step; then a cosine, epoch by epoch."""
    if step < warmup * steps_per_epoch:
        return peak * (step + 1) / (warmup * steps_per_epoch)
    done = (step // steps_per_epoch - warmup) / max(epochs - warmup, 1)
    return peak * (1 + math.cos(math.pi * done)) / 2


# ---------------------------------------------------------------------------------------------------------------------
# The images


def blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def augmentation(image_size: int, blur_probability: float, solarize_probability: float) -> Callable:
    return T.Compose(
        [
            T.RandomResizedCrop(image_size, scale=(0.2, 1.0)),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.RandomApply([blur], p=blur_probability),
            T.RandomSolarize(threshold=128, p=solarize_probability),
            T.ToTensor(),
            T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )


class TwoViews(torch.utils.data.Dataset):
    """Every image below a folder, without labels, twice: the two views are augmented unequally, as BYOL's are."""

    def __init__(self, folder: Path, image_size: int):
        self.paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
        self.first = augmentation(image_size, blur_probability=1.0, solarize_probability=0.0)
        self.second = augmentation(image_size, blur_probability=0.1, solarize_probability=0.2)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        return self.first(image), self.second(image)


def seed_worker(worker: int) -> None:
    """Python's generator, which draws the blur, is a copy in every worker; torch's has a seed of its own in each."""
    random.seed(torch.initial_seed())


# ---------------------------------------------------------------------------------------------------------------------
# Training


def train(args: argparse.Namespace) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    images = TwoViews(args.images, args.image_size)
    steps_per_epoch = len(images) // args.batch_size
    if steps_per_epoch == 0:
        raise SystemExit(f"{args.images} has {len(images)} images, fewer than --batch-size {args.batch_size}")
    loader = torch.utils.data.DataLoader(
        images,
        args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        pin_memory=device.type == "cuda",
    )
    model = LEWEL(args.arch, args.hidden, args.dim, args.groups, args.beta, args.momentum).to(device).train()
    optimizer = LARS([p for p in model.parameters() if p.requires_grad], lr=args.lr, weight_decay=args.weight_decay)

    step, total_steps = 0, steps_per_epoch * args.epochs
    for epoch in range(args.epochs):
        losses, began = [], time.perf_counter()
        for view1, view2 in loader:
            rate = learning_rate(step, args.lr, steps_per_epoch, args.epochs, args.warmup_epochs)
            optimizer.param_groups[0]["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = model(view1.to(device, non_blocking=True), view2.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.move_target(step, total_steps)
            losses.append(loss.detach())
            step += 1
        mean, speed = torch.stack(losses).mean(), len(losses) * args.batch_size / (time.perf_counter() - began)
        print(f"epoch {epoch + 1}/{args.epochs}  loss {mean:.4f}  rate {rate:.4f}  {speed:.0f} images/s", flush=True)
        torch.save(model.online.encoder.state_dict(), args.out)
    print(f"wrote {args.out}: torchvision.models.{args.arch}() with fc = nn.Identity() loads it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("images", type=Path, help="a folder; images at any depth, labels are not used")
    add("--out", type=Path, default=Path("encoder.pt"))
    add("--arch", default="resnet50", help="a ResNet of torchvision")
    add("--image-size", type=int, default=224)
    add("--batch-size", type=int, default=256)
    add("--epochs", type=int, default=100)
    add("--warmup-epochs", type=int, default=10)
    add("--lr", type=float, default=0.9, help="published: 3.6 at batch 1024, in proportion")
    add("--weight-decay", type=float, default=1e-6)
    add("--momentum", type=float, default=0.98)
    add("--hidden", type=int, default=4096)
    add("--dim", type=int, default=256)
    add("--groups", type=int, default=4)
    add("--beta", type=float, default=0.5)
    add("--workers", type=int, default=4)
    add("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
