"""Makes the pictures that the tests upload: every kind that phones and browsers send, with CANARY in all that must stay behind.

    make.py FOLDER

The pictures are computed; nobody is in them.
"""

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy
from PIL import Image, ImageCms, PngImagePlugin

OUT = Path(sys.argv[1])
WIDTH, HEIGHT = 61, 43


def picture(width=WIDTH, height=HEIGHT):
    """Smooth, without any symmetry, so that a wrong turn shows and JPEG changes little."""
    y, x = numpy.mgrid[0:height, 0:width].astype(float)
    red = 255 * x / (width - 1)
    green = 255 * y / (height - 1)
    blue = 127 + 120 * numpy.sin((x + 2 * y) / 17)
    return Image.fromarray(numpy.stack([red, green, blue], axis=2).round().astype(numpy.uint8), "RGB")


def exif(orientation=None):
    block = Image.Exif()
    if orientation is not None:
        block[0x0112] = orientation
    block[0x010F] = "CANARY maker"
    block[0x0132] = "2026:11:22 14:05:00"
    details = block.get_ifd(0x8769)
    details[0x927C] = b"CANARY maker note"
    details[0x9286] = b"ASCII\0\0\0CANARY comment"
    place = block.get_ifd(0x8825)
    place[1], place[2] = "N", (52.0, 31.0, 12.0)
    place[3], place[4] = "E", (13.0, 24.0, 18.0)
    place[29] = "CANARY gps"
    return block.tobytes()


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(image, orientation=None, dirty=True, **how):
    """A JPEG with what cameras and programs put around a picture."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, exif=exif(orientation), comment=b"CANARY comment", **how)
    data = out.getvalue()
    if not dirty:
        return data
    thumbnail = segment(0xE0, b"JFXX\0\x10CANARY thumbnail")
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>CANARY xmp</x:xmpmeta>")
    iptc = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0cCANARY iptc!")
    return data[:2] + thumbnail + xmp + iptc + data[2:] + b"CANARY behind the end" + data


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png16(samples, kind):
    """16 bits a sample, which Pillow does not write."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + samples[y].astype(">u2").tobytes() for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def save(name, data):
    (OUT / name).write_bytes(data)


def saved(image, kind, **how):
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def png(image, orientation=None, **how):
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", "CANARY author")
    words.add_text("Comment", "CANARY comment", zip=True)
    words.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta>CANARY xmp</x:xmpmeta>")
    return saved(image, "PNG", pnginfo=words, exif=exif(orientation), **how) + b"CANARY behind the end"


image = picture()
grey = image.convert("L")
alpha = Image.fromarray(numpy.tile(numpy.linspace(0, 255, WIDTH).astype(numpy.uint8), (HEIGHT, 1)), "L")
see_through = image.copy()
see_through.putalpha(alpha)
grey_through = grey.copy().convert("LA")
grey_through.putalpha(alpha)

# Baseline and upright: these go in untouched.
for name, how in {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2},
    "tables": {"subsampling": 2, "optimize": True},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
}.items():
    save(f"untouched-{name}.jpg", jpeg(image, **how))
save("untouched-grey.jpg", jpeg(grey))
save("untouched-upright.jpg", jpeg(image, orientation=1))
save("untouched-large.jpg", jpeg(picture(1200, 900), subsampling=2))

# Decoded and coded again.
for orientation in range(2, 9):
    save(f"turned-{orientation}.jpg", jpeg(image, orientation=orientation, subsampling=0))
save("turned-grey-6.jpg", jpeg(grey, orientation=6))
save("coded-progressive.jpg", jpeg(image, progressive=True))
save("coded-progressive-grey.jpg", jpeg(grey, progressive=True))
save("coded-progressive-turned-8.jpg", jpeg(image, orientation=8, progressive=True))
save("coded-rgb.jpg", jpeg(image, keep_rgb=True))
save("coded-cmyk.jpg", jpeg(image.convert("CMYK")))

# Native.
for orientation in range(1, 9):
    save(f"native-{orientation}.png", png(image, orientation))
    save(f"native-{orientation}.webp", saved(image, "WEBP", lossless=True, exact=True, exif=exif(orientation), xmp=b"<x>CANARY</x>"))
save("native-grey.png", png(grey))
save("native-alpha.png", png(see_through))
save("native-grey-alpha.png", png(grey_through))
save("native-palette.png", png(image.quantize(64)))
save("native-palette-alpha.png", png(see_through.quantize(64)))
save("native-bits.png", png(grey.point(lambda v: 255 if v > 99 else 0, "1")))
save("native-one.png", png(picture(2, 2).crop((0, 0, 1, 1))))
deep = numpy.asarray(image).astype(numpy.uint32) * 257
save("native-16-rgb.png", png16(deep, 2))
save("native-16-rgba.png", png16(numpy.dstack([deep, numpy.asarray(alpha).astype(numpy.uint32) * 257]), 6))
save("native-16-grey.png", png16(numpy.asarray(grey).astype(numpy.uint32) * 257, 0))
save("lossy.webp", saved(image, "WEBP", quality=90, exif=exif(), xmp=b"<x>CANARY</x>"))
save("lossy-alpha.webp", saved(see_through, "WEBP", quality=90))

# With a colour profile: of sRGB by its numbers, and with all that a profile can say of where it comes from.
profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
profile[48:56] = b"CANARYdv"
at = profile.index("sRGB built-in".encode("utf-16-be"))
profile[at : at + 26] = "CANARY's scan".encode("utf-16-be")
(OUT / "refused-profile.icc").write_bytes(profile)
profile = bytes(profile)
save("untouched-profile.jpg", jpeg(image, icc_profile=profile))
save("turned-profile-6.jpg", jpeg(image, orientation=6, subsampling=0, icc_profile=profile))
# More than one segment holds.
long = struct.pack(">I", len(profile) + 150_000) + profile[4:] + b"CANARY" * 25_000
save("untouched-profile-long.jpg", jpeg(image, icc_profile=long))
save("native-profile.png", png(image, icc_profile=profile))
save("native-profile.webp", saved(image, "WEBP", lossless=True, exact=True, icc_profile=profile))
# Such as are left out: of CIELAB, of grey beside a grey picture, of no colours at all.
lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
save("untouched-left-lab.jpg", jpeg(image, icc_profile=lab))
save("native-left-broken.png", png(image, icc_profile=b"CANARY" * 50))
save("native-grey-left.png", png(grey, icc_profile=profile))

# Refused.
save("refused-animated.webp", saved(image, "WEBP", save_all=True, append_images=[picture(WIDTH, HEIGHT).rotate(180)]))
save("refused-gif.gif", saved(image, "GIF"))
save("refused-bmp.bmp", saved(image, "BMP"))
