"""GIF: how many frames, from the blocks of the file (GIF89a). Pillow would decode them to count them."""

from __future__ import annotations

from io import BufferedIOBase

MOST_FRAMES = 10_000


def frames(file: BufferedIOBase) -> int:
    """How many images there are, counted up to `MOST_FRAMES`."""
    file.seek(0)
    head = file.read(13)
    if len(head) < 13:
        return 0
    _skip_colours(file, head[10])
    found = 0
    while found < MOST_FRAMES and (kind := file.read(1)) in (b"!", b","):
        if kind == b"!":
            file.seek(1, 1)
        else:
            descriptor = file.read(9)
            if len(descriptor) < 9:
                break
            _skip_colours(file, descriptor[8])
            file.seek(1, 1)  # the size of the first codes
            found += 1
        while (size := file.read(1)) not in (b"", b"\0"):
            file.seek(size[0], 1)
    return found


def _skip_colours(file: BufferedIOBase, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), 1)
