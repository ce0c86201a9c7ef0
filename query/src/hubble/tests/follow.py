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
