"""What a frame looks like, by the formulas of PS3.3 in numpy: records as reference.py writes them.

The JSON head names frame, syntax, wish, and the shape of the picture; the blobs are DICOM JSON, the coded frame, the picture,
and then each table that is too long for the JSON, in the order of the head's list.

    shades.py FIXTURES SCRATCH
"""

import os
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import iter_pixels
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from reference import FIXTURES, coded, little, picture, record, turned

warnings.simplefilter("ignore")


def shown(ds, index):
    """The first of the items that count for a frame."""

    def item(name):
        for groups in (ds.get("PerFrameFunctionalGroupsSequence", [])[index : index + 1], ds.get("SharedFunctionalGroupsSequence", [])[:1]):
            for group in groups:
                if name in group:
                    return group[name][0]
        return ds

    return item("PixelValueTransformationSequence"), item("FrameVOILUTSequence")


def entries(item, descriptor="LUTDescriptor", data="LUTData", signed=False):
    count, first, bits = item[descriptor].value
    first = first - 65536 if signed and first > 32767 else first
    values = item[data].value
    if isinstance(values, bytes):
        values = np.frombuffer(values, "<u1" if bits <= 8 and len(values) < 2 * count else "<u2")
    values = np.asarray(values, np.int64)[: count or 65536]
    return values, first, bits


def look(values, table, first):
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)]


def shade(values, center, width, function):
    center, width = float(center), float(width)
    if function == "LINEAR" and width < 1:
        function = "LINEAR_EXACT"
    if function == "SIGMOID":
        return 255.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = ((values - center) / width + 0.5) * 255.0
    return np.where(values <= center - width / 2.0, 0.0, np.where(values > center + width / 2.0, 255.0, inner))


def rounded(shades):
    return np.clip(np.floor(shades + 0.5), 0, 255).astype(np.uint8)


def colours(ds, array):
    if ds.BitsStored != 8:
        most = (1 << ds.BitsStored) - 1
        array = ((array.astype(np.uint64) & most) * 255 + most // 2) // most
    array = array.astype(np.uint8)
    if not ds.PhotometricInterpretation.startswith("YBR_FULL"):
        return array
    # The fixed point arithmetic of the Independent JPEG Group.
    y, cb, cr = (array[..., i].astype(np.int64) - (128 if i else 0) for i in range(3))
    half = 1 << 15
    rgb = (y + ((91881 * cr + half) >> 16), y + ((-22554 * cb - 46802 * cr + half) >> 16), y + ((116130 * cb + half) >> 16))
    return np.clip(np.stack(rgb, -1), 0, 255).astype(np.uint8)


def seen(ds, array, index, wish):
    if ds.SamplesPerPixel == 3:
        return colours(ds, array)
    signed = ds.PixelRepresentation == 1
    if ds.HighBit != ds.BitsStored - 1:  # pydicom drops bits above the stored ones as if the high bit were the usual one
        array = np.frombuffer(ds.PixelData, "<u2").reshape(array.shape)
    stored = array.astype(np.int64)
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated and ds.BitsAllocated > 1:
        stored = (stored >> (ds.HighBit + 1 - ds.BitsStored)) & ((1 << ds.BitsStored) - 1)
        if signed:
            stored = np.where(stored >> (ds.BitsStored - 1), stored - (1 << ds.BitsStored), stored)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        planes = []
        for name in ("Red", "Green", "Blue"):
            table, first, bits = entries(ds, name + "PaletteColorLookupTableDescriptor", name + "PaletteColorLookupTableData")
            planes.append(look(stored, table >> 8 if bits > 8 and table.max() > 255 else table & 255, first))
        return np.stack(planes, -1).astype(np.uint8)
    transform, voi = shown(ds, index)
    values = stored.astype(np.float64)
    identity = True
    if ds.get("ModalityLUTSequence"):
        table, first, _ = entries(ds.ModalityLUTSequence[0], signed=signed)
        values, identity = look(stored, table, first).astype(np.float64), False
    elif "RescaleSlope" in transform or "RescaleIntercept" in transform:
        slope, intercept = float(transform.get("RescaleSlope", 1)), float(transform.get("RescaleIntercept", 0))
        identity = (slope, intercept) == (1, 0)
        values = values * slope + intercept
    window = None
    if "WindowCenter" in voi and voi.WindowCenter is not None:
        first = lambda v: v[0] if isinstance(v, (list, pydicom.multival.MultiValue)) else v
        window = (first(voi.WindowCenter), first(voi.WindowWidth), voi.get("VOILUTFunction", "LINEAR"))
    if wish:
        shades = shade(values, *wish)
    elif ds.get("VOILUTSequence"):
        table, first, bits = entries(ds.VOILUTSequence[0], signed=signed)
        shades = look(np.floor(values + 0.5), table, first) / float((1 << bits) - 1) * 255.0
    elif window:
        shades = shade(values, *window)
    else:
        low, high = 0.0, float((1 << ds.BitsStored) - 1)
        if signed or ds.BitsStored > 8 or not identity:
            counted = values
            if "PixelPaddingValue" in ds:
                edges = sorted((ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue)))
                counted = values[(stored < edges[0]) | (stored > edges[1])]
            low, high = (counted.min(), counted.max()) if counted.size else (0.0, 0.0)
        shades = (values - low) / (high - low) * 255.0 if high > low else values * 0
    out = rounded(shades)
    return 255 - out if ds.PhotometricInterpretation == "MONOCHROME1" else out


def tell(name, ds, frames=None, wish=None):
    arrays = list(iter_pixels(ds, raw=True))
    for index in frames if frames is not None else sorted({0, len(arrays) - 1}):
        tables = {}

        def aside(element):
            path = f"bulkdata/{int(element.tag):08X}"
            tables[path] = element.value if isinstance(element.value, bytes) else np.asarray(element.value, "<u2").tobytes()
            return path

        nested = Dataset()
        nested.update({e.tag: e for e in ds if e.tag != 0x7FE00010 and e.VR != "SQ"})
        nested.update({e.tag: e for e in ds if e.VR == "SQ"})
        vr = ds["PixelData"].VR
        text = nested.to_json(bulk_data_threshold=1024, bulk_data_element_handler=aside, suppress_invalid_tags=True)
        text = text[:-1] + f', "7FE00010": {{"vr": "{vr}", "BulkDataURI": "bulkdata/7FE00010"}}}}'
        array = seen(ds, arrays[index], index, wish)
        head = {
            "name": f"{name}#{index}",
            "syntax": ds.file_meta.TransferSyntaxUID,
            "frame": index + 1,
            "window": wish and {"center": wish[0], "width": wish[1], "function": {"LINEAR": "Linear", "LINEAR_EXACT": "LinearExact", "SIGMOID": "Sigmoid"}[wish[2]]},
            "rows": array.shape[0],
            "columns": array.shape[1],
            "samples": 3 if array.ndim == 3 else 1,
            "tables": list(tables),
        }
        frame = coded(ds, index)
        if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
            frame = turned(ds, frame, vr)
            head["syntax"] = ExplicitVRLittleEndian
        record(head, text.encode(), frame, little(array), *tables.values())


def files(folder):
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".dcm") or name == "JPGExtended.dcm":  # decoded otherwise by what pydicom has: see reference.py
            continue
        try:
            ds = pydicom.dcmread(os.path.join(folder, name))
            list(iter_pixels(ds, raw=True))
        except Exception:
            continue
        if "PixelData" in ds and "Rows" in ds and ds.get("BitsAllocated") != 1:
            # What a codestream says of its colours goes before the data set; reference.py compares those.
            if ds.file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.50") and "SC_jpeg_no_color" in name:
                continue
            tell(name, ds)


def data_set(array, bits, signed=False, photometric="MONOCHROME2", frames=1, **more):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SamplesPerPixel = 3 if photometric in ("RGB", "YBR_FULL", "YBR_FULL_422") else 1
    ds.PhotometricInterpretation = photometric
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = more.pop("PlanarConfiguration", 0)
    shape = array.shape[1:] if frames > 1 else array.shape
    ds.Rows, ds.Columns = more.pop("Rows", shape[0]), more.pop("Columns", shape[1])
    if frames > 1:
        ds.NumberOfFrames = frames
    ds.BitsAllocated = array.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(signed)
    raw = little(array)
    ds.add_new("PixelData", "OB" if ds.BitsAllocated == 8 else "OW", raw + b"\0" * (len(raw) % 2))
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def item(**elements):
    one = Dataset()
    for name, value in elements.items():
        setattr(one, name, value)
    return one


def table(values, first, bits, vr="US"):
    one = Dataset()
    one.add_new("LUTDescriptor", vr, [len(values) % 65536, first, bits])
    one.add_new("LUTData", "US", [int(v) for v in values])
    return one


def made():
    grey = picture(60, 77, 12, 1, 1)
    ct = (grey.astype(np.int32) - 1024).astype(np.int16)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        for center, width in ((40, 400), (300.5, 1500), (0, 1), (-20.25, 3.5), (100, 0.5)):
            tell(f"window {function} {center} {width}", data_set(ct, 16, True, WindowCenter=center, WindowWidth=width, VOILUTFunction=function, RescaleSlope=1, RescaleIntercept=-24))
            if width >= 1 or function != "LINEAR":
                tell(f"wished {function} {center} {width}", data_set(ct, 16, True, RescaleSlope="1.5", RescaleIntercept="-3.25"), wish=(float(center), float(width), function))
    tell("two windows, inverted", data_set(grey, 12, photometric="MONOCHROME1", WindowCenter=[2000, 100], WindowWidth=[1000, 50]))
    tell("no window", data_set(ct, 16, True))
    tell("no window, inverted", data_set(grey, 12, photometric="MONOCHROME1"))
    tell("padding", data_set(ct, 16, True, PixelPaddingValue=int(ct.min())))
    tell("padding range", data_set(ct, 16, True, PixelPaddingValue=-1024, PixelPaddingRangeLimit=-500))
    tell("all padding", data_set(np.full((5, 5), 7, np.uint16), 12, PixelPaddingValue=7))
    tell("falling slope", data_set(grey, 12, RescaleSlope=-2, RescaleIntercept=10))
    tell("fraction of a slope", data_set(grey, 12, RescaleSlope="0.0001220703125", RescaleIntercept=0, WindowCenter="0.25", WindowWidth="0.5"))
    shifted = data_set((grey << 4).astype(np.uint16), 12)
    shifted.HighBit = 15
    tell("high bit 15", shifted)
    noisy = data_set((grey | 0xA000).astype(np.uint16), 12)
    tell("bits above the stored ones", noisy)
    negative = data_set(((ct.astype(np.int32) >> 1) & 0xFFF).astype(np.uint16), 12, True)
    tell("12 bits with a sign", negative)
    tell("eight bits are shades", data_set(picture(20, 30, 8, 1, 2), 8))
    tell("six bits of eight", data_set(picture(20, 30, 6, 1, 2), 6))
    tell("32 bits", data_set(grey.astype(np.uint32) * 70001, 32))
    curve = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(np.int64)
    tell("VOI LUT", data_set(grey, 12, VOILUTSequence=Sequence([table(curve, 0, 16)]), WindowCenter=5, WindowWidth=6))
    tell("VOI LUT of 10 bits from 500", data_set(grey, 12, VOILUTSequence=Sequence([table(curve[:1000] >> 6, 500, 10)])))
    tell("VOI LUT from below zero", data_set(ct, 16, True, VOILUTSequence=Sequence([table(curve[::2], -900, 16, "SS")])))
    tell("VOI LUT of all words", data_set(ct.view(np.uint16), 16, VOILUTSequence=Sequence([table(np.arange(65536)[::-1], 0, 16)])))
    tell("modality LUT", data_set(grey, 12, ModalityLUTSequence=Sequence([table(4095 - np.arange(4096), 0, 12)]), WindowCenter=1000, WindowWidth=900))
    tell("modality LUT, no window", data_set(grey, 12, ModalityLUTSequence=Sequence([table((np.arange(4096) - 2000) ** 2 // 100, 0, 16)])))

    for bits, count, first in ((8, 256, 0), (16, 256, 0), (16, 200, 20)):
        index = picture(30, 40, 8, 1, 9)
        ds = data_set(index, 8, photometric="PALETTE COLOR")
        random = np.random.default_rng(bits + count)
        for name in ("Red", "Green", "Blue"):
            ds.add_new(name + "PaletteColorLookupTableDescriptor", "US", [count, first, bits])
            values = random.integers(0, 1 << bits, count).astype("<u1" if bits == 8 else "<u2")
            setattr(ds, name + "PaletteColorLookupTableData", values.tobytes())
        tell(f"palette of {bits} bits, {count} from {first}", ds)
    wide = data_set(picture(30, 40, 16, 1, 9), 16, photometric="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        wide.add_new(name + "PaletteColorLookupTableDescriptor", "US", [0, 0, 16])
        setattr(wide, name + "PaletteColorLookupTableData", np.random.default_rng(len(name)).integers(0, 65536, 65536).astype("<u2").tobytes())
    tell("palette of 65536", wide)

    rgb = picture(31, 40, 8, 3, 4)
    tell("rgb", data_set(rgb, 8, photometric="RGB"))
    tell("rgb by plane", data_set(np.ascontiguousarray(rgb.transpose(2, 0, 1)), 8, photometric="RGB", PlanarConfiguration=1, Rows=31, Columns=40))
    tell("rgb of 16 bits", data_set(picture(31, 40, 16, 3, 4), 16, photometric="RGB"))
    tell("rgb of 12 bits", data_set(picture(31, 40, 12, 3, 4), 12, photometric="RGB"))
    tell("ybr", data_set(rgb, 8, photometric="YBR_FULL"))

    stack = np.stack([picture(20, 24, 12, 1, n) for n in range(3)])
    groups = [item(FrameVOILUTSequence=Sequence([item(WindowCenter=500 * n + 300, WindowWidth=700)]), PixelValueTransformationSequence=Sequence([item(RescaleSlope=n + 1, RescaleIntercept=-n)])) for n in range(3)]
    tell("windows of each frame", data_set(stack, 12, frames=3, PerFrameFunctionalGroupsSequence=Sequence(groups)), frames=range(3))
    shared = item(FrameVOILUTSequence=Sequence([item(WindowCenter=900, WindowWidth=100, VOILUTFunction="SIGMOID")]))
    tell("a window for all", data_set(stack, 12, frames=3, SharedFunctionalGroupsSequence=Sequence([shared]), PerFrameFunctionalGroupsSequence=Sequence([item() for _ in range(3)])))


if __name__ == "__main__":
    files(os.path.join(os.path.dirname(pydicom.data.__file__), "test_files"))
    files(FIXTURES)
    made()
