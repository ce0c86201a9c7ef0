"""`hubble observe -f`: new flows as they come, and the last ones before; the feeder counts up, every third is a deny."""

SECONDS = 1_767_225_600
DENIES = [Filter(verdict=[DROPPED])]


def take(call, wanted, step):
    """So many flows, each `step` behind the one before. The relay forgets what it has stored: what its stream
    did not send before is told as lost, in batches of three flows, and only that may be missing."""
    found, lost = [], 0
    for response in call:
        if response.HasField("lost_events"):
            lost += response.lost_events.num_events_lost
        if response.HasField("flow"):
            found.append(response.time.seconds - SECONDS)
        if len(found) == wanted:
            call.cancel()
            break
    distances = [after - before for before, after in zip(found, found[1:])]
    assert all(distance > 0 and distance % step == 0 for distance in distances), found
    missing = sum(distance // step - 1 for distance in distances)
    assert missing <= lost * 3 // step, (found, lost)
    return found


call = get_flows(follow=True, whitelist=DENIES)
assert call.initial_metadata() is not None
assert len(take(call, 6, 3)) == 6
assert len(take(get_flows(follow=True), 20, 1)) == 20
# Every kind of condition over new flows; none of them excludes one.
NONE = [
    dict(uuid=["x"]),
    dict(source_ip=["10.9.0.0/16"]),
    dict(source_fqdn=["*.nobody"]),
    dict(source_label=["reserved:host"]),
    dict(source_label=["!app"]),
    dict(source_pod=["/nobody"]),
    dict(destination_service=["/nobody"]),
    dict(destination_workload=[dict(name="nobody")]),
    dict(source_cluster_name=["other"]),
    dict(source_identity=[2]),
    dict(drop_reason_desc=[181]),
    dict(event_type=[dict(type=1)]),
    dict(protocol=["sctp"]),
    dict(source_port=["1"]),
    dict(tcp_flags=[dict(URG=True)]),
    dict(ip_version=[2]),
    dict(node_name=["nobody"]),
]
none = [Filter(**filter) for filter in NONE]
app = Filter(source_label=["k8s:app"], destination_pod=["redis-0"], event_type=[dict(type=5)])
assert len(take(get_flows(follow=True, whitelist=[app], blacklist=none), 10, 1)) == 10
# Stored, hot and new ones: none twice, none missed.
for _ in range(5):
    assert len(take(get_flows(follow=True, number=40), 60, 1)) == 60
    assert len(take(get_flows(follow=True, number=20, whitelist=DENIES), 30, 3)) == 30
since = timestamp_pb2.Timestamp(seconds=SECONDS)
all_of_them = take(get_flows(follow=True, since=since), 150, 1)
assert len(all_of_them) == 150 and all_of_them[0] == 0
# A time to end at.
last = all_of_them[-1] + 10
until = timestamp_pb2.Timestamp(seconds=SECONDS + last)
seen = take(get_flows(follow=True, number=1, until=until), 1_000, 1)
assert seen[-1] <= last and len(seen) < 1_000, seen
print("passed")
