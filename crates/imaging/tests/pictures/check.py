"""Reads instances with pydicom and compares their pixels with what Pillow makes of the pictures they came from.

    check.py PICTURES INSTANCES

Prints a JSON object a line: name, transfer syntax, the largest and mean difference of a sample, and attributes.
"""

import json
import sys
from pathlib import Path

import numpy
from PIL import Image, ImageOps
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
                "laterality": word("Laterality"),
            }
        )
    )
