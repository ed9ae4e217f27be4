"""Reads instances with pydicom and compares their pixels with what Pillow makes of the pictures they came from.

    check.py PICTURES INSTANCES

Prints a JSON object a line: name, transfer syntax, the largest and mean difference of a sample, and attributes.
"""

import io
import json
import sys
from pathlib import Path

import numpy
from PIL import Image, ImageCms, ImageOps
from pydicom import dcmread
from pydicom.pixels import pixel_array

PICTURES, INSTANCES = Path(sys.argv[1]), Path(sys.argv[2])


def expected(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I;16"):
        return (numpy.asarray(image).astype(float) / 257).round()
    if image.mode in ("RGBA", "LA", "P", "PA"):
        see_through = image.convert("RGBA")
        white = Image.new("RGBA", see_through.size, "white")
        return numpy.asarray(Image.alpha_composite(white, see_through).convert("L" if image.mode == "LA" else "RGB"))
    return numpy.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB"))


def same_colours(kept, original):
    """Whether colours come out the same by either profile, as Little CMS computes them."""
    steps = numpy.linspace(0, 255, 9).astype(numpy.uint8)
    colours = Image.fromarray(numpy.stack(numpy.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3), "RGB")
    into = ImageCms.createProfile("LAB")
    seen = [
        numpy.asarray(ImageCms.applyTransform(colours, ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(p)), into, "RGB", "LAB")))
        for p in (kept, original)
    ]
    return int(numpy.abs(seen[0].astype(int) - seen[1].astype(int)).max()) <= 1


for path in sorted(INSTANCES.glob("*.dcm")):
    source = PICTURES / path.stem
    data = dcmread(path)
    came = pixel_array(data, raw=False)
    wanted = expected(source)
    same_shape = came.shape == wanted.shape
    difference = numpy.abs(came.astype(float) - wanted.astype(float)) if same_shape else numpy.array([999.0])
    word = lambda keyword: str(data.get(keyword, ""))
    print(
        json.dumps(
            {
                "name": path.stem,
                "syntax": data.file_meta.TransferSyntaxUID,
                "largest": float(difference.max()),
                "mean": float(difference.mean()),
                "photometric": data.PhotometricInterpretation,
                "lossy": data.LossyImageCompression,
                "methods": word("LossyImageCompressionMethod"),
                "kind": list(data.ImageType),
                "patient": word("PatientName"),
                "profile": "ICCProfile" in data and same_colours(data.ICCProfile, (PICTURES / "refused-profile.icc").read_bytes()),
                "space": word("ColorSpace"),
                "comments": word("ImageComments"),
                "laterality": word("Laterality"),
            }
        )
    )
