"""Faster R-CNN and Mask R-CNN on a pretrained ResNet, as the papers' protocols have them (detectron2's).

The models are torchvision's detection parts with what those protocols do differently; docs/dense.md has all of it.

    anchors     AnchorGenerator: exact sizes, the encoder's strides
    proposals   RegionProposalNetwork: its losses
    regions     RoIHeads: classes, losses, results
    pooling     MultiScaleRoIAlign: strides, samples
    c4, fpn     the models themselves, and how many proposals they take
    masks       the mask head's last layers, its truth and its loss
    objects     paste_masks_in_image
"""
