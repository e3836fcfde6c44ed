"""Where things are in an image: data with boxes and masks, and what an encoder is worth on them."""
