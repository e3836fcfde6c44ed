"""Faster R-CNN and Mask R-CNN, trained and measured on an encoder."""
