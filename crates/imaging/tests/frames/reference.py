"""Frames, and what other people's decoders make of them, as length-prefixed records on standard output.

A record: four bytes of length and a JSON head, then each blob of the head's list behind its own four bytes of length.

pydicom's own test files (as they lie in its wheel), this project's fixtures, and pictures of numpy that CharLS (pyjpegls),
OpenJPEG (pylibjpeg-openjpeg), the Independent JPEG Group's library (Pillow, dcmtk) coded. What those decode, or what was
coded without loss, is the truth.

    reference.py FIXTURES SCRATCH
"""

import io
import json
import os
import subprocess
import struct
import sys
import warnings

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import iter_pixels
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit

warnings.simplefilter("ignore")
pydicom.config.logger.setLevel("CRITICAL")
out = sys.stdout.buffer
FIXTURES, SCRATCH = sys.argv[1:]


def record(head, *blobs):
    head = json.dumps(head).encode()
    out.write(struct.pack("<I", len(head)) + head + struct.pack("<I", len(blobs)))
    for blob in blobs:
        out.write(struct.pack("<I", len(blob)) + blob)


def layout(ds):
    return {
        "rows": ds.Rows,
        "columns": ds.Columns,
        "samples": ds.SamplesPerPixel,
        "allocated": ds.BitsAllocated,
        "stored": ds.BitsStored,
        "high_bit": ds.HighBit,
        "signed": ds.PixelRepresentation == 1,
        "planar": ds.get("PlanarConfiguration", 0) == 1,
        "photometric": {
            "MONOCHROME1": "Monochrome1",
            "MONOCHROME2": "Monochrome2",
            "PALETTE COLOR": "Palette",
            "RGB": "Rgb",
            "YBR_FULL": "YbrFull",
            "YBR_FULL_422": "YbrFull422",
            "YBR_ICT": "YbrIct",
            "YBR_RCT": "YbrRct",
        }[ds.PhotometricInterpretation],
    }


def little(array):
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def coded(ds, index):
    frames = int(ds.get("NumberOfFrames", 1) or 1)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return get_frame(ds.PixelData, index, number_of_frames=frames)
    half = ds.PhotometricInterpretation == "YBR_FULL_422"
    samples = 2 if half else ds.SamplesPerPixel
    length = -(-ds.Rows * ds.Columns * samples * ds.BitsAllocated // 8)
    return ds.PixelData[index * length : (index + 1) * length]


def ijg(codestream):
    """What the Independent JPEG Group's library has before and after it converts colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(codestream))
    if picture.mode == "L":
        return np.asarray(picture), np.asarray(picture)
    raw = Image.open(io.BytesIO(codestream))
    raw.draft("YCbCr", raw.size)
    try:
        return np.asarray(raw), np.asarray(picture)
    except OSError:  # coded as RGB: there is no YCbCr
        return np.asarray(picture), np.asarray(picture)


def files(folder):
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".dcm"):
            continue
        try:
            ds = pydicom.dcmread(os.path.join(folder, name))
        except Exception:
            continue
        if "PixelData" not in ds or "Rows" not in ds or "TransferSyntaxUID" not in ds.file_meta:
            continue
        syntax = ds.file_meta.TransferSyntaxUID
        plugin = "gdcm" if syntax == JPEGBaseline8Bit else ""
        try:
            arrays = list(iter_pixels(ds, raw=True, decoding_plugin=plugin))
        except Exception:
            continue
        for index in sorted({0, len(arrays) - 1}):
            if ds.BitsAllocated == 1 and index > 0:
                continue
            frame = coded(ds, index)
            head = {"name": f"{name}#{index}", "syntax": syntax, "layout": layout(ds)}
            if syntax == ExplicitVRBigEndian:
                frame = turned(ds, frame, ds["PixelData"].VR)
                head["syntax"] = ExplicitVRLittleEndian
            record(head, frame, expected(folder, name, ds, arrays, index))


def turned(ds, frame, vr):
    """A frame of big endian cells as the vault gives it out: little endian. Of cells of eight bits OW holds two in a word (PS3.5 §A.3)."""
    if ds.BitsAllocated == 8:
        return np.frombuffer(ds.PixelData, ">u2").astype("<u2").tobytes() if vr == "OW" else frame
    width = ds.BitsAllocated // 8
    return np.frombuffer(frame, f">u{width}").astype(f"<u{width}").tobytes() if width else frame


def expected(folder, name, ds, arrays, index):
    """Independent JPEG Group arithmetic for 12 bits, too: another library may differ by one there."""
    if ds.file_meta.TransferSyntaxUID != JPEGExtended12Bit:
        return little(arrays[index])
    back = os.path.join(SCRATCH, "back.dcm")
    subprocess.run([tool("dcmdjpeg"), os.path.join(folder, name), back], check=True, capture_output=True)
    return little(pydicom.dcmread(back).pixel_array)


def tool(name):
    return next(p for d in os.environ["PATH"].split(":") + ["/usr/bin"] if os.path.exists(p := os.path.join(d, name)))


def picture(rows, columns, bits, samples, seed):
    """Waves, edges, a flat field and noise: runs and contexts of every kind."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    most = (1 << bits) - 1
    planes = []
    for sample in range(samples):
        plane = most * (0.5 + 0.4 * np.sin(x / (5 + sample)) * np.cos(y / 7))
        plane += random.normal(0, most / 40, plane.shape)
        plane[rows // 4 : rows // 2, columns // 4 : columns // 2] = most * (sample + 1) // 4
        plane[: rows // 8] = 0
        plane[-2:, ::3] = most
        planes.append(np.clip(plane, 0, most).astype(np.uint16))
    array = np.stack(planes, -1) if samples > 1 else planes[0]
    return array.astype(np.uint8) if bits <= 8 else array


def made(array, bits, signed=False, photometric=None):
    samples = 3 if array.ndim == 3 else 1
    allocated = 8 if bits <= 8 else 16
    return {
        "rows": array.shape[0],
        "columns": array.shape[1],
        "samples": samples,
        "allocated": allocated,
        "stored": bits,
        "high_bit": bits - 1,
        "signed": signed,
        "planar": False,
        "photometric": photometric or ("Rgb" if samples == 3 else "Monochrome2"),
    }


def jpegls():
    import jpeg_ls

    for bits in (2, 4, 7, 8, 10, 12, 15, 16):
        for near in (0, 3) if bits > 4 else (0,):
            array = picture(37, 61, bits, 1, bits)
            stream = bytes(jpeg_ls.encode_array(array, lossy_error=near))
            expected = jpeg_ls.decode(np.frombuffer(stream, np.uint8)) if near else array
            head = {"name": f"jpegls {bits} bit near {near}", "syntax": "1.2.840.10008.1.2.4.81", "layout": made(array, precision(stream))}
            record(head, stream, little(expected.reshape(array.shape)))
    for mode in (0, 1, 2):
        for near in (0, 2):
            for bits in (8, 16):
                array = picture(33, 40, bits, 3, 90 + mode)
                planar = np.ascontiguousarray(array.transpose(2, 0, 1)) if mode == 0 else array
                stream = bytes(jpeg_ls.encode_array(planar, lossy_error=near, interleave_mode=mode))
                expected = jpeg_ls.decode_from_buffer(stream)
                expected = np.frombuffer(bytes(expected), array.dtype)
                expected = expected.reshape(planar.shape)
                if mode == 0:
                    expected = expected.transpose(1, 2, 0)
                if near == 0:
                    assert (expected == array).all()
                head = {"name": f"jpegls colour {bits} bit mode {mode} near {near}", "syntax": "1.2.840.10008.1.2.4.81", "layout": made(array, bits)}
                record(head, stream, little(expected))


def precision(stream):
    return stream[stream.index(b"\xff\xf7") + 4]


def jpeg2000():
    from openjpeg.utils import decode, encode_array

    for bits, signed in ((8, False), (12, False), (16, False), (8, True), (16, True)):
        array = picture(45, 70, bits, 1, bits)
        if signed:
            array = (array.astype(np.int32) - (1 << (bits - 1))).astype(np.int8 if bits <= 8 else np.int16)
        for ratios in (None, [6.0]):
            stream = encode_array(array, bits_stored=bits, compression_ratios=ratios)
            expected = array if ratios is None else decode(stream)
            head = {"name": f"j2k {bits} bit signed {signed} ratios {ratios}", "syntax": "1.2.840.10008.1.2.4.91", "layout": made(array, bits, signed)}
            record(head, stream, little(expected))
    array = picture(50, 64, 8, 3, 5)
    for mct, photometric in ((True, "YbrRct"), (False, "Rgb")):
        stream = encode_array(array, photometric_interpretation=1, use_mct=mct)
        record({"name": f"j2k colour mct {mct}", "syntax": "1.2.840.10008.1.2.4.90", "layout": made(array, 8, photometric=photometric)}, stream, little(array))
    stream = encode_array(array, photometric_interpretation=1, use_mct=True, compression_ratios=[8.0])
    record({"name": "j2k colour lossy", "syntax": "1.2.840.10008.1.2.4.91", "layout": made(array, 8, photometric="YbrIct")}, stream, little(decode(stream)))


def htj2k():
    """Coded by OpenJPH (imagecodecs) from `picture` here; the streams lie beside this file."""
    from openjpeg.utils import decode

    here = os.path.dirname(os.path.abspath(__file__))
    for name, array, bits, lossless in (
        ("htj2k-8.j2c", picture(45, 70, 8, 1, 8), 8, True),
        ("htj2k-16.j2c", picture(45, 70, 16, 1, 16), 16, True),
        ("htj2k-rgb.j2c", picture(50, 64, 8, 3, 5), 8, True),
        ("htj2k-lossy.j2c", picture(45, 70, 12, 1, 12), 12, False),
    ):
        with open(os.path.join(here, name), "rb") as file:
            stream = file.read()
        expected = array if lossless else decode(stream)
        head = {"name": name, "syntax": "1.2.840.10008.1.2.4.203", "layout": made(array, bits, photometric="YbrRct" if array.ndim == 3 else None)}
        record(head, stream, little(expected))


def jpeg():
    from PIL import Image

    for rows, columns in ((1, 1), (3, 2), (16, 16), (45, 71), (64, 33)):
        grey = Image.fromarray(picture(rows, columns, 8, 1, 3))
        colour = Image.fromarray(picture(rows, columns, 8, 3, 4))
        variants = [(grey, {"quality": 80}), (grey, {"quality": 30, "restart_marker_blocks": 2})]
        variants += [(colour, {"quality": 85, "subsampling": s}) for s in (0, 1, 2)]
        variants += [(grey, {"quality": 90, "progressive": True}), (colour, {"quality": 60, "subsampling": 2, "progressive": True})]
        variants += [(colour, {"quality": 97, "subsampling": 0, "progressive": True, "restart_marker_blocks": 3})]
        variants += [(colour, {"quality": 10, "subsampling": 2, "restart_marker_rows": 1}), (colour, {"quality": 95, "keep_rgb": True, "subsampling": 0})]
        for image, options in variants:
            held = io.BytesIO()
            image.save(held, "JPEG", **options)
            raw, rgb = ijg(held.getvalue())
            array = np.asarray(image)
            head = {"name": f"jpeg {rows}x{columns} {image.mode} {options}", "syntax": JPEGBaseline8Bit, "layout": made(array, 8, photometric="YbrFull422" if image.mode == "RGB" else None)}
            record(head, held.getvalue(), little(raw), little(rgb))


def dcmtk():
    """12 bit DCT and every lossless predictor, coded and decoded by dcmtk."""

    def run(*words):
        subprocess.run(words, check=True, capture_output=True)

    plain, packed, back = (os.path.join(SCRATCH, name) for name in ("plain.dcm", "packed.dcm", "back.dcm"))
    jobs = [(12, 1, ["+ee", "+q", "90"]), (12, 1, ["+ee", "+q", "20"]), (8, 1, ["+ee", "+q", "70"]), (16, 1, ["+e1"]), (8, 1, ["+e1"]), (8, 3, ["+e1"]), (12, 1, ["+el", "+sv", "3", "+pt", "2"])]
    jobs += [(12, 1, ["+el", "+sv", str(n)]) for n in range(1, 8)] + [(16, 1, ["+el", "+sv", str(n)]) for n in (2, 5, 7)]
    for bits, samples, options in jobs:
        array = picture(42, 77, bits, samples, bits)
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
        ds.Rows, ds.Columns = array.shape[:2]
        ds.SamplesPerPixel = samples
        ds.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
        if samples == 3:
            ds.PlanarConfiguration = 0
        ds.BitsAllocated = 8 if bits <= 8 else 16
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
        ds.add_new("PixelData", "OB" if bits <= 8 else "OW", little(array) + b"\0" * (array.nbytes % 2))
        ds.save_as(plain, enforce_file_format=True)
        run(tool("dcmcjpeg"), *options, plain, packed)
        run(tool("dcmdjpeg"), packed, back)
        one, two = pydicom.dcmread(packed), pydicom.dcmread(back)
        length = array.size * two.BitsAllocated // 8
        head = {"name": f"dcmtk {bits} bit {samples} {' '.join(options)}", "syntax": one.file_meta.TransferSyntaxUID, "layout": layout(one)}
        record(head, get_frame(one.PixelData, 0, number_of_frames=1), two.PixelData[:length])


def main():
    files(os.path.join(os.path.dirname(pydicom.data.__file__), "test_files"))
    files(FIXTURES)
    jpegls()
    jpeg2000()
    htj2k()
    jpeg()
    dcmtk()


if __name__ == "__main__":
    main()
