"""Faster R-CNN and Mask R-CNN on a pretrained ResNet, as the papers' protocols have them (detectron2's).

The models are torchvision's detection parts with what those protocols do differently:

| part | torchvision | here, as in detectron2 | module |
|---|---|---|---|
| anchors | rounded to whole pixels | exact | anchors |
| their stride | image size // map size | the encoder's, whatever the border adds | anchors |
| losses of proposals | mean over the anchors drawn; smooth L1, 1/9 | sum / (256 x images); L1 | proposals |
| proposals in training | 2000 a map to 2000 | FPN: 2000 a map to 1000; C4: 12000 to 2000 | c4, fpn |
| proposals in tests | 1000 a map to 1000 | FPN: the same; C4: 6000 to 1000 | c4, fpn |
| classes | background first, with a box of its own | background last, without | regions |
| loss of boxes | smooth L1, 1/9 | L1; summed over foreground / all regions, in both | regions |
| results | boxes under 0.01 pixels dropped first | empty boxes dropped last | regions |
| RoIAlign | half a pixel off, 2 x 2 samples a bin | aligned, a sample for each position | pooling |
| maps of regions | strides guessed from sizes | the encoder's strides | pooling |
| C4 | none | res5 on regions, an extra norm; masks share its pass | c4 |
| FPN | no norm in neck and heads; 2 linear layers | norm in all but the RPN; 4 convolutions, 1 linear layer | fpn |
| mask truth | RoIAlign's values, half a pixel off | aligned; 1 from one half on, else 0 | masks |
| pasted masks | by rounded boxes, with a border | by the boxes as they are | objects |
| first weights | linear: torch's; masks: He's | linear: Xavier; last: N(0, 0.01), boxes and masks N(0, 0.001) | heads |

What differs from detectron2 still: mask truth comes from bitmaps, not from polygons cut to each region (detectron2 does
so with INPUT.MASK_FORMAT bitmask); images are filled up to the largest of the batch, for FPN too, not to a multiple of
32; proposals thinner than 0.001 pixels are dropped, not empty ones only.
"""
