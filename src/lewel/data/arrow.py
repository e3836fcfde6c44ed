"""A Pillow image's own memory as an array, by the Arrow C data interface: nothing is copied."""

from __future__ import annotations

import ctypes

import numpy as np
from jaxtyping import UInt8
from PIL import Image


class _ArrowArray(ctypes.Structure):
    """https://arrow.apache.org/docs/format/CDataInterface.html, as far as it is read here."""


_ArrowArray._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def rgbx(image: Image.Image) -> UInt8[np.ndarray, "height width 4"]:
    """The pixels of an RGB image, to be read only; the fourth byte of each is padding.

    Pillow lends what lies in one piece, by default up to 4 million pixels; anything larger is copied. The array keeps
    the memory alive.
    """
    assert image.mode == "RGB"
    try:
        _, capsule = image.__arrow_c_array__()
    except ValueError:
        return np.asarray(image.convert("RGBX"))
    array = _ArrowArray.from_address(_pointer(capsule, b"arrow_array"))
    pixels = array.children[0].contents  # a list of 4 bytes a pixel; its child has the bytes, after a mask of gaps
    memory = (ctypes.c_uint8 * pixels.length).from_address(pixels.buffers[1])
    memory.owner = capsule  # type: ignore[attr-defined]
    return np.frombuffer(memory, np.uint8).reshape(image.height, image.width, 4)
