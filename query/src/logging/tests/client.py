"""Google's own client, pointed at a query service: argument 1 is its address."""

import sys

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import logging

address = sys.argv[1]
client = logging.Client(
    project="demo",
    credentials=AnonymousCredentials(),
    _use_grpc=False,
    client_options={"api_endpoint": f"http://{address}"},
)

# More than a page, with a time of its own so that the client adds none.
FILTER = 'jsonPayload.disposition="deny" timestamp>="2026-01-01"'
latest = list(client.list_entries(filter_=FILTER, order_by=logging.DESCENDING, page_size=3))
assert len(latest) == 10, latest
assert all(entry.payload["disposition"] == "deny" for entry in latest)
times = [entry.timestamp for entry in latest]
assert times == sorted(times, reverse=True), times
assert len({entry.insert_id for entry in latest}) == 10
assert latest[0].resource.type == "k8s_node", latest[0].resource
assert latest[0].resource.labels["cluster_name"] == "test"
earliest = list(client.list_entries(filter_=FILTER, page_size=4, max_results=5))
assert [entry.insert_id for entry in earliest] == [entry.insert_id for entry in latest[::-1]][:5]

# The client adds the log's name without quotes, and the last day where no time is asked for.
named = list(client.logger("policy-action").list_entries(filter_='timestamp>"2026-01-01T00:00:09Z"'))
assert len(named) == 20, len(named)
assert list(client.logger("policy-action").list_entries()) == []
assert list(client.list_entries(filter_="verdict=deny OR verdict=allow")) == []

try:
    list(client.list_entries(filter_="thud=1"))
    raise SystemExit("thud is no field")
except exceptions.BadRequest as error:
    assert "line 1, column 1" in error.message, error.message
try:
    client.logger("mine").log_text("hello")
    raise SystemExit("nothing can be written")
except exceptions.Forbidden as error:
    assert "read-only" in error.message, error.message
assert [sink.name for sink in client.list_sinks()] == []
print("passed")
