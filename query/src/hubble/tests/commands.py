"""What `hubble status`, `list nodes`, `list namespaces` and `observe` send, and what they read."""

health = CHANNEL.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
name = b"hubble.server.Observer"
assert health(b"\x0a" + bytes([len(name)]) + name, timeout=300) == b"\x08\x01"

status = ask("ServerStatus")
assert status.num_flows == status.seen_flows == 33, status
assert status.num_connected_nodes.value == 1 and status.num_unavailable_nodes.value == 1, status
assert list(status.unavailable_nodes) == ["test/node-1"], status
assert status.version.startswith("weir ") and status.uptime_ns > 0, status
assert abs(status.flows_rate - 3 / 60) < 1e-9, status

nodes = {node.name: node for node in ask("GetNodes").nodes}
assert sorted(nodes) == ["test/node-0", "test/node-1"], nodes
assert nodes["test/node-0"].state == 1 and nodes["test/node-0"].version == "1.2.3", nodes
assert nodes["test/node-1"].state == 2, nodes
assert nodes["test/node-0"].seen_flows + nodes["test/node-1"].seen_flows == 3, nodes
namespaces = [(found.cluster, found.namespace) for found in ask("GetNamespaces").namespaces]
assert namespaces == [("test", "default"), ("test", "ns-0"), ("test", "ns-1"), ("test", "ns-2")], namespaces

for service, method in [("observer.Observer", "GetAgentEvents"), ("observer.Observer", "GetDebugEvents"), ("peer.Peer", "Notify")]:
    call = CHANNEL.unary_stream(f"/{service}/{method}", request_serializer=bytes, response_deserializer=bytes)
    try:
        list(call(b"", timeout=300))
        raise SystemExit(f"{method} is not there")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

# The first command of the page, as it is sent for people to read.
VERDICTS = {"FORWARDED": FORWARDED, "DROPPED": DROPPED, "AUDIT": AUDIT}
command, *words, verdict = sys.argv[4].split()
assert [command, *words] == ["hubble", "--server", "127.0.0.1:4245", "observe", "--verdict"], sys.argv[4]
PATHS = """time verdict ethernet IP l4 source.identity source.namespace source.pod_name destination.identity
destination.namespace destination.pod_name Type node_name l7 event_type source_service destination_service is_reply Summary
ip_trace_id traffic_direction policy_match_type ingress_allowed_by ingress_denied_by egress_allowed_by egress_denied_by""".split()
assert len(PATHS) == 26
mask = field_mask_pb2.FieldMask(paths=PATHS)
denies = flows(number=20, whitelist=[Filter(verdict=[VERDICTS[verdict]])], field_mask=mask)
assert len(denies) == count("verdict = 'deny'") and all(flow.verdict == DROPPED for flow in denies), denies

# A deny in full.
[flow] = flows(number=1, whitelist=[Filter(source_pod=["ns-0/Pod-27"])])
assert flow.verdict == DROPPED and flow.drop_reason_desc == flow.drop_reason == 133, flow
assert (flow.event_type.type, flow.traffic_direction) == (5, 2), flow
assert (flow.IP.source, flow.IP.destination, flow.IP.ipVersion) == ("10.0.0.28", "10.0.1.1", 1), flow
assert (flow.l4.TCP.source_port, flow.l4.TCP.destination_port) == (40_027, 6379), flow
assert flow.l4.TCP.flags.SYN and not flow.l4.TCP.flags.ACK and flow.Summary == "TCP Flags: SYN", flow
assert (flow.source.namespace, flow.source.pod_name, flow.source.cluster_name) == ("ns-0", "Pod-27", "test"), flow
assert "k8s:io.kubernetes.pod.namespace=ns-0" in flow.source.labels, flow
assert flow.source.identity >= 256 and flow.source.identity != flow.destination.identity, flow
assert flow.destination.workloads[0].name == "redis" and list(flow.destination_names) == ["redis.default.svc"], flow
assert flow.HasField("is_reply") and not flow.is_reply.value, flow
[policy] = flow.egress_denied_by
assert (policy.kind, policy.namespace, policy.name) == ("NetworkPolicy", "default", "redis"), flow
assert policy.revision == 2**64 - 1 - 27, flow
assert not flow.egress_allowed_by and not flow.ingress_denied_by and flow.uuid, flow
assert flow.node_name == "test/node-1" and nanoseconds(flow.time) == (1_767_225_600 + 27) * 10**9, flow
[allowed] = flows(number=1, whitelist=[Filter(source_pod=["ns-1/Pod-28"])])
assert [policy.name for policy in allowed.ingress_allowed_by] == ["redis"] and allowed.verdict == FORWARDED, allowed

# Which ones: by number, from either end, by time.
SECONDS = 1_767_225_600


def observe(**request):
    return [response for response in get_flows(**request)]


def numbers(**request):
    found = [response for response in observe(**request) if response.WhichOneof("response_types") == "flow"]
    for response in found:
        assert response.time == response.flow.time and response.node_name == response.flow.node_name
    return [response.time.seconds - SECONDS for response in found if response.time.seconds < SECONDS + 1_000]


def at(second, nanos=0):
    return timestamp_pb2.Timestamp(seconds=SECONDS + second, nanos=nanos)


old = at(1_000)
assert numbers(number=20, until=old) == list(range(10, 30))
assert numbers(number=3, first=True) == [0, 1, 2]
assert numbers(number=2**64 - 1) == list(range(30))
assert numbers(number=0) == list(range(30))
assert numbers(since=at(5), until=at(8)) == [5, 6, 7, 8]
assert numbers(since=at(5), number=2, until=at(8)) == [5, 6, 7, 8]
assert numbers(since=at(5), number=2, first=True) == [5, 6]
assert numbers(since=at(5, 1), until=at(7, 999_999_999)) == [6, 7]
assert numbers(since=at(9), until=at(3)) == []
mask = field_mask_pb2.FieldMask(paths=["time", "IP", "Type", "Summary", "source.pod_name"])
assert numbers(number=2, until=old, field_mask=mask) == [28, 29]
assert "first and follow" in refused(number=1, first=True, follow=True)
assert "number" in refused(first=True)
far = timestamp_pb2.Timestamp(seconds=2**62, nanos=5)
assert numbers(since=far) == [] and numbers(number=2, until=timestamp_pb2.Timestamp(seconds=-(2**62))) == []

# What was lost is told among the rows of its time.
def lost(**request):
    told = [response for response in observe(**request) if response.WhichOneof("response_types") == "lost_events"]
    return [(response.time.seconds - SECONDS, response.lost_events.num_events_lost) for response in told]


kinds = [response.WhichOneof("response_types") for response in observe(since=at(10), until=at(13))]
assert kinds == ["flow", "lost_events", "flow", "flow", "flow"], kinds
assert lost(since=at(10), until=at(13)) == [(11, 7)]
assert lost(number=5, until=at(13)) == [(11, 7)]
assert lost(number=2, until=at(29)) == [] and lost(number=3, first=True) == []
[event] = [response for response in observe(since=at(11), until=at(11)) if response.HasField("lost_events")]
assert event.node_name == "test/node-1" and event.lost_events.source == 1, event
print("passed")
