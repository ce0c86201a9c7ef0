"""Flows of two relays: stored, hot and new ones."""

SECONDS = 1_767_225_600
until = timestamp_pb2.Timestamp(seconds=SECONDS + 89)
for request in [dict(number=50), dict(number=50, first=True), dict(since=timestamp_pb2.Timestamp(seconds=SECONDS + 3))]:
    times = [flow.time.seconds for flow in flows(until=until, **request)]
    assert times == sorted(set(times)) and len(times) in (50, 87), times

found = []
call = get_flows(follow=True, number=30)
for response in call:
    assert response.HasField("flow"), response
    found.append(response.time.seconds - SECONDS)
    if len(found) == 60:
        call.cancel()
        break
# The last pair may have come apart: its later flow alone.
assert len(set(found)) == 60 and max(found) - min(found) <= 60, found
assert found[:30] == sorted(found[:30]), found
print("passed")
