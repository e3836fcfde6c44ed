"""A class for every pixel: a dilated FCN on the encoder, trained and measured as mmsegmentation does it."""
