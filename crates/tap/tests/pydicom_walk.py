"""Says what pydicom makes of files, one JSON object a line, for differential.rs to compare with.

Run without arguments: every test file in pydicom's wheel and in pydicom-data. Otherwise: the files named.
"""

import base64
import json
import pathlib
import sys
import warnings

import pydicom
from pydicom import datadict

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
# The tap knows no vendor's private dictionary.
datadict.private_dictionaries.clear()

BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW", "US or OW", "US or SS or OW"}

# What else lies between the test files.
OTHER = {".py", ".pyc", ".json", ".txt", ".md", ".gz", ".zip", ".icc", ".dump"}

HEADER = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "AccessionNumber", "Modality", "InstitutionName",
    "ReferringPhysicianName", "StationName", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate",
    "PatientSex", "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "SeriesInstanceUID",
    "SeriesNumber", "SeriesDate", "SeriesDescription", "BodyPartExamined", "InstanceNumber", "Rows", "Columns",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated",
]


def files():
    import data_store

    for package in (pydicom, data_store):
        root = pathlib.Path(package.__file__).parent / "data"
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in OTHER and path.name != "README":
                yield path


def elements(ds):
    """Elements in order. A sequence written as UN of defined length stays raw: pydicom would look into it, the tap keeps
    it as bytes."""
    for tag in sorted(ds.keys()):
        raw = ds.get_item(tag)
        written_un = getattr(raw, "is_raw", False) and raw.VR == "UN" and raw.length != 0xFFFFFFFF
        if written_un and datadict.dictionary_has_tag(tag) and datadict.dictionary_VR(tag) == "SQ":
            yield raw
        else:
            yield ds[tag]


def count(ds):
    n = 0
    for element in elements(ds):
        n += 1
        if element.VR == "SQ":
            n += sum(count(item) for item in element.value)
    return n


def first(value):
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if len(value) else None
    if value is None:
        return ""
    written = getattr(value, "original_string", None)
    return written if isinstance(written, str) else str(value)


def header(ds):
    out = {}
    for keyword in HEADER:
        if keyword in ds:
            element = ds[keyword]
            if keyword == "SpecificCharacterSet":
                value = element.value
                many = isinstance(value, (list, pydicom.multival.MultiValue))
                out[keyword] = "\\".join(str(v) for v in value) if many else first(value)
            elif keyword == "PatientID" and isinstance(element.value, pydicom.multival.MultiValue):
                out[keyword] = "\\".join(str(v) for v in element.value)
            else:
                out[keyword] = first(element.value)
        else:
            out[keyword] = ""
    return out


def model(ds):
    """DICOM JSON without to_json_dict's refusal of whole objects: an element it cannot convert says why."""
    out = {}
    for element in elements(ds):
        tag = f"{element.tag.group:04X}{element.tag.element:04X}"
        try:
            if element.VR == "SQ":
                value = [model(item) for item in element.value]
                out[tag] = {"vr": "SQ", **({"Value": value} if value else {})}
            elif element.VR in BINARY:
                raw = element.value or b""
                if isinstance(raw, str):
                    raw = raw.encode("latin-1")
                if element.is_raw and len(raw) <= 1024:
                    out[tag] = {"vr": "UN", "InlineBinary": base64.b64encode(raw).decode()}
                elif isinstance(raw, (bytes, bytearray)) and len(raw) > 1024:
                    out[tag] = {"vr": element.VR, "BulkDataURI": len(raw), "sum": sum(raw)}
                else:
                    out[tag] = element.to_json_dict(lambda e: "x", 10**12)
            else:
                out[tag] = element.to_json_dict(lambda e: "x", 10**12)
        except Exception as why:  # noqa: BLE001
            out[tag] = {"vr": element.VR, "cannot": type(why).__name__}
    return out


def describe(path):
    answer = {"path": str(path)}
    try:
        ds = pydicom.dcmread(path, force=True)
        answer["transfer_syntax"] = str(getattr(ds.file_meta, "TransferSyntaxUID", ""))
        answer["count"] = count(ds)
        answer["header"] = header(ds)
        answer["json"] = model(ds)
    except Exception as why:  # noqa: BLE001
        answer["cannot"] = f"{type(why).__name__}"
    return answer


if __name__ == "__main__":
    for name in map(pathlib.Path, sys.argv[1:]) if sys.argv[1:] else files():
        print(json.dumps(describe(name)))
