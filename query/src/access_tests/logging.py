"""Google's gRPC client for two principals: argument 1 is the address, 2 the token of alice, who is granted `ns-1`, 3 that
of root."""

import sys

import grpc
from google.api_core import exceptions
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport
from google.cloud.logging_v2.services.metrics_service_v2 import MetricsServiceV2Client
from google.cloud.logging_v2.services.metrics_service_v2.transports import MetricsServiceV2GrpcTransport
from google.cloud.logging_v2.types import LogMetric, TailLogEntriesRequest

channel = grpc.insecure_channel(sys.argv[1])
service = LoggingServiceV2Client(transport=LoggingServiceV2GrpcTransport(channel=channel))
metrics = MetricsServiceV2Client(transport=MetricsServiceV2GrpcTransport(channel=channel))
ALICE, ROOT = ([("authorization", f"Bearer {token}")] for token in sys.argv[2:])
OLD = 'timestamp<"2026-01-01T00:01:00Z" '


def entries(token, filter=""):
    request = {"resource_names": ["projects/p"], "filter": OLD + filter, "page_size": 9}
    return list(service.list_log_entries(request, metadata=token))


def namespaces(found):
    return {entry.json_payload["src"].get("pod_namespace") for entry in found}


for call in [
    lambda: entries([]),
    lambda: list(service.list_logs(parent="projects/p")),
    lambda: list(metrics.list_log_metrics(parent="projects/p")),
    lambda: next(service.tail_log_entries(requests=iter([TailLogEntriesRequest(resource_names=["projects/p"])]))),
]:
    try:
        call()
        raise SystemExit("nobody was let in")
    except exceptions.Unauthenticated as error:
        assert "access control is on" in error.message, error
assert len(entries(ROOT)) == 60
own = entries(ALICE)
assert 0 < len(own) < 60 and namespaces(own) == {"ns-1"}, namespaces(own)
for filter in ['source_namespace="ns-2"', 'NOT source_namespace="ns-1"', '"ns-2"']:
    assert entries(ALICE, filter) == [] and entries(ROOT, filter) != [], filter
metric = LogMetric(name="m", filter='source_namespace="ns-2"')
try:
    metrics.create_log_metric(parent="projects/p", metric=metric, metadata=ALICE)
    raise SystemExit("alice made a metric")
except exceptions.PermissionDenied as error:
    assert "admins" in error.message, error
assert metrics.create_log_metric(parent="projects/p", metric=metric, metadata=ROOT).name == "m"
request = TailLogEntriesRequest(resource_names=["projects/p"], buffer_window="0.1s")
seen = 0
for response in service.tail_log_entries(requests=iter([request]), metadata=ALICE):
    assert namespaces(response.entries) <= {"ns-1"}, response
    assert not response.suppression_info, response
    seen += len(response.entries)
    if seen > 8:
        break
print("passed")
