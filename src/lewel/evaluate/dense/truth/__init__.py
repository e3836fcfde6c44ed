"""Images and what people have marked in them: objects, masks, in the layouts of VOC and COCO."""
