"""Google's own client over gRPC, pointed at a query service: argument 1 is its address."""

import sys

import grpc
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import logging
from google.cloud.logging_v2 import _gapic
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.logging_v2.services.logging_service_v2.transports import (
    LoggingServiceV2GrpcTransport,
)
from google.cloud.logging_v2.services.metrics_service_v2 import MetricsServiceV2Client
from google.cloud.logging_v2.services.metrics_service_v2.transports import (
    MetricsServiceV2GrpcTransport,
)
from google.cloud.logging_v2.types import TailLogEntriesRequest

channel = grpc.insecure_channel(sys.argv[1])
service = LoggingServiceV2Client(transport=LoggingServiceV2GrpcTransport(channel=channel))
metrics = MetricsServiceV2Client(transport=MetricsServiceV2GrpcTransport(channel=channel))
client = logging.Client(project="demo", credentials=AnonymousCredentials())
client._logging_api = _gapic._LoggingAPI(service, client)
client._metrics_api = _gapic._MetricsAPI(metrics, client)

FILTER = 'jsonPayload.disposition="deny" timestamp>="2026-01-01" timestamp<"2026-01-01T00:00:30Z"'
latest = list(client.list_entries(filter_=FILTER, order_by=logging.DESCENDING, page_size=3))
assert len(latest) == 10, latest
assert latest[0].payload["connection"]["dest_port"] == 6379, latest[0].payload
assert latest[0].resource.labels["project_id"] == "demo", latest[0].resource
assert latest[0].labels["weir/policy"] == "default/redis"
assert latest[0].timestamp.isoformat() == "2026-01-01T00:00:27+00:00", latest[0].timestamp
named = client.logger("policy-action").list_entries(filter_=FILTER, max_results=2)
assert [entry.insert_id for entry in named] == [entry.insert_id for entry in latest[::-1]][:2]
assert list(service.list_logs(parent="projects/demo")) == ["projects/demo/logs/policy-action"]

try:
    list(client.list_entries(filter_="thud=1"))
    raise SystemExit("thud is no field")
except exceptions.InvalidArgument as error:
    assert "line 1, column 1" in error.message, error.message
try:
    service.write_log_entries(entries=[])
    raise SystemExit("nothing can be written")
except exceptions.PermissionDenied as error:
    assert "read-only" in error.message, error.message

metric = client.metric("denies", filter_='verdict="deny"', description="all of them")
assert not metric.exists()
metric.create()
assert [one.name for one in client.list_metrics()] == ["denies"]
metric.filter_ = "verdict=allow"
metric.update()
metric.reload()
assert metric.filter_ == "verdict=allow"
metric.delete()
assert list(client.list_metrics()) == []

request = TailLogEntriesRequest(
    resource_names=["projects/demo"], filter="verdict=deny", buffer_window="0.3s"
)
for response in service.tail_log_entries(requests=iter([request])):
    assert response.entries
    assert all(entry.json_payload["disposition"] == "deny" for entry in response.entries)
    times = [entry.timestamp for entry in response.entries]
    assert times == sorted(times)
    break
print("passed")
