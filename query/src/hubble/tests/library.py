"""A client of Hubble's observer API that shares nothing with the server: its messages come from a table of
Hubble's names and numbers (argument 1). Argument 2 is the gRPC address, 3 the HTTP address."""

import json
import sys
import urllib.request

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import field_mask_pb2, timestamp_pb2, wrappers_pb2  # noqa: F401

SCALARS = {"string": 9, "uint32": 13, "uint64": 4, "int32": 5, "bool": 8, "double": 1, "bytes": 12}
KNOWN = {"Timestamp", "FieldMask", "UInt32Value", "Int32Value", "BoolValue"}


def build(table):
    pool = descriptor_pool.Default()
    lines = [line.split() for line in table.splitlines()]
    enums = {words[1] for words in lines if words[0] == "enum"}
    files = {}
    for package in ["flow", "relay", "observer"]:
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        for known in ["timestamp", "wrappers", "field_mask"]:
            file.dependency.append(f"google/protobuf/{known}.proto")
        files[package] = file
    files["observer"].dependency.extend(["flow.proto", "relay.proto"])
    for kind, name, *parts in lines:
        package, name = name.split(".")
        file = files[package]
        if kind == "enum":
            enum = file.enum_type.add(name=name)
            for part in parts:
                value, number = part.split("=")
                enum.value.add(name=value, number=int(number))
            continue
        message = file.message_type.add(name=name)
        for part in parts:
            field_name, rest = part.split("=")
            number, kind = rest.split(":")
            kind, _, one = kind.partition("?")
            field = message.field.add(name=field_name, number=int(number))
            field.label = 3 if kind.startswith("[]") else 1
            kind = kind.removeprefix("[]")
            if one:
                if not message.oneof_decl:
                    message.oneof_decl.add(name=one)
                field.oneof_index = 0
            if kind in SCALARS:
                field.type = SCALARS[kind]
                continue
            full = kind if "." in kind else f"{package}.{kind}"
            if kind in KNOWN:
                full = f"google.protobuf.{kind}"
            field.type = 14 if full in enums else 11
            field.type_name = f".{full}"
    for file in files.values():
        pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    classes = {}
    for package, file in files.items():
        for message in file.message_type:
            name = f"{package}.{message.name}"
            classes[name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return classes


MESSAGES = build(sys.argv[1])
ADDRESS, HTTP = sys.argv[2], sys.argv[3]
CHANNEL = grpc.insecure_channel(ADDRESS)
Request, Filter = MESSAGES["observer.GetFlowsRequest"], MESSAGES["flow.FlowFilter"]
FORWARDED, DROPPED, AUDIT = 1, 2, 4


def get_flows(metadata=None, raw=None, timeout=300, **request):
    """A call of GetFlows; `raw` are bytes to send instead of a request."""
    call = CHANNEL.unary_stream(
        "/observer.Observer/GetFlows",
        request_serializer=lambda request: raw if raw is not None else request.SerializeToString(),
        response_deserializer=MESSAGES["observer.GetFlowsResponse"].FromString,
    )
    return call(Request(**request), metadata=metadata, timeout=timeout)


def flows(**request):
    return [response.flow for response in get_flows(**request) if response.WhichOneof("response_types") == "flow"]


def ask(method, metadata=None, request=None):
    call = CHANNEL.unary_unary(
        f"/observer.Observer/{method}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=MESSAGES[
            f"observer.{method}Response"
        ].FromString,
    )
    return call((request or MESSAGES[f"observer.{method}Request"])(), metadata=metadata, timeout=300)


def refused(code=grpc.StatusCode.INVALID_ARGUMENT, **request):
    """What is said about a request that must be refused."""
    try:
        list(get_flows(**request))
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error.details()
    raise SystemExit(f"{request} was not refused")


def sql(text, token=None):
    request = urllib.request.Request(f"{HTTP}/api/v1/sql", json.dumps({"sql": text}).encode())
    request.add_header("content-type", "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as response:
        return json.load(response)["rows"]


def count(condition):
    return sql(f"select count(*) as n from flows where {condition}")[0]["n"]


def nanoseconds(time):
    return time.seconds * 10**9 + time.nanos
