"""Compares data sets with what a coercer made of them, as pydicom reads both; says nothing where all is right.

usage: pydicom_coerce.py NEW.json BEFORE AFTER [BEFORE AFTER ...], with NEW.json an object of keyword and new value
"""

import json
import sys
import warnings

import pydicom
from pydicom.tag import Tag

warnings.simplefilter("ignore")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

ORIGINALS = Tag(0x0400, 0x0561)
# Group lengths of what changes are no longer true, so they are left out.
LENGTHS = {Tag(0x0008, 0), Tag(0x0010, 0), Tag(0x0400, 0)}


def faults(before, after, new):
    """What is not as it should be."""
    old, made = pydicom.dcmread(before), pydicom.dcmread(after)
    says = {Tag(keyword): value for keyword, value in new.items()}
    for tag in (old.keys() | made.keys()) - says.keys() - LENGTHS - {ORIGINALS}:
        if tag not in old or tag not in made or old.get_item(tag).VR != made.get_item(tag).VR or old[tag] != made[tag]:
            yield f"{tag} changed"
    for tag, value in says.items():
        if tag not in made or str(made[tag].value) != value:
            yield f"{tag} does not say what it should"
    items = list(made.get("OriginalAttributesSequence", []))
    if len(items) != len(old.get("OriginalAttributesSequence", [])) + 1:
        yield "not one item more"
        return
    if items[1:] != list(old.get("OriginalAttributesSequence", [])):
        yield "an item from before changed"
    first = items[0]
    if (first.ReasonForTheAttributeModification, first.ModifyingSystem) != ("CORRECT", "Leadglass"):
        yield "the item does not say why, or who"
    kept = first.ModifiedAttributesSequence[0]
    changed = {tag for tag, value in says.items() if tag not in old or str(old[tag].value or "") != value}
    if kept.keys() != changed:
        yield "kept is not what changed"
    for tag in kept.keys():
        was = old[tag].value if tag in old else None
        if (kept[tag].value or None) != (was or None):
            yield f"{tag} is not kept as it was"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        new = json.load(file)
    for before, after in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        for fault in faults(before, after, new):
            print(f"{before}: {fault}")


main()
