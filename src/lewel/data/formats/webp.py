"""WebP: a copy without metadata. Read from the RIFF chunks of its container (RFC 9649)."""

from __future__ import annotations

_FLAGS = {b"EXIF": 0x08, b"XMP ": 0x04, b"ICCP": 0x20}  # of the metadata, in the VP8X chunk


def pixels_only(content: bytes) -> bytes:
    """The same picture without metadata; an EXIF chunk that is whole stays, as it says which side is up."""
    kept, position, flags = [], 12, 0xFF
    while position + 8 <= len(content):
        name, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        end = position + 8 + length
        if name in _FLAGS and (name != b"EXIF" or end > len(content)):
            flags &= ~_FLAGS[name]
        else:
            kept.append(
                content[position:end].ljust(8 + length + length % 2, b"\0")
                if end <= len(content)
                else content[position:]
            )
        position = end + length % 2
    body = b"".join(chunk[:8] + bytes([chunk[8] & flags]) + chunk[9:] if _is_head(chunk) else chunk for chunk in kept)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


def _is_head(chunk: bytes) -> bool:
    return chunk[:4] == b"VP8X" and len(chunk) > 8
