"""Whether the description of the API is valid OpenAPI 3.1, and whether answers are as it says.

    python check.py DOCUMENT ANSWERS

ANSWERS is a list of [method, path as the document has it, status, body]. Prints what is amiss; exit code 1 then.
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)
with open(sys.argv[2], encoding="utf-8") as file:
    answers = json.load(file)

amiss = [f"the document: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
for method, path, status, body in answers:
    described = document["paths"][path][method.lower()]["responses"].get(str(status))
    if described is None:
        amiss.append(f"{method} {path} answers {status}, which is not described")
        continue
    [media] = described["content"].values()
    # A reference is looked for from the root of what it stands in.
    schema = {"components": document["components"], "allOf": [media["schema"]]}
    for error in Draft202012Validator(schema).iter_errors(body):
        amiss.append(f"{method} {path} {status} at {error.json_path}: {error.message[:300]}")
print("\n".join(amiss))
sys.exit(bool(amiss))
