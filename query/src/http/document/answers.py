"""Checks answers of the service against its OpenAPI document: argument 1 is a file with the document and
what was asked and answered. Prints what is wrong, a line each."""
import json
import sys

import jsonschema
import openapi_spec_validator

with open(sys.argv[1]) as file:
    given = json.load(file)
document = given["document"]
openapi_spec_validator.validate(document)


def resolved(node):
    while "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def errors(schema, value):
    whole = {**schema, "components": document["components"]}
    found = jsonschema.Draft202012Validator(whole).iter_errors(value)
    return [f"{list(error.absolute_path)}: {error.message[:300]}" for error in found]


wrong = []
answered = set()
for sample in given["samples"]:
    name = f"{sample['method']} {sample['path']}"
    operation = document["paths"][sample["path"]][sample["method"].lower()]
    known = {resolved(parameter)["name"] for parameter in operation.get("parameters", [])}
    wrong += [f"{name}: {key} is no parameter" for key in sample["query"] if key not in known]
    responses = operation["responses"]
    response = resolved(responses.get(str(sample["status"]), responses.get("default")))
    content = response["content"]
    kind = sample["type"].split(";")[0]
    if kind not in content:
        wrong.append(f"{name}: {sample['status']} is {kind}, not {sorted(content)}")
        continue
    if sample["status"] == 200:
        answered.add((name, kind))
        if sample["sent"] is not None:
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            wrong += [f"{name}: sent {error}" for error in errors(body, sample["sent"])]
    if kind == "application/json":
        told = errors(content[kind]["schema"], json.loads(sample["body"]))
        wrong += [f"{name}: {sample['status']} {error}" for error in told]

for path, operations in document["paths"].items():
    for method, operation in operations.items():
        name = f"{method.upper()} {path}"
        for kind in operation["responses"].get("200", {}).get("content", {}):
            if (name, kind) not in answered:
                wrong.append(f"{name}: nobody looked at an answer of {kind}")
print("\n".join(wrong))
