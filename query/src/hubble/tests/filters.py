"""Every family of filters against the same condition in SQL, and what is refused."""

TOTAL = count("true")
LABEL = "label(source_labels, '{}')"
APP = LABEL.format("app")
HOST = "source_kind = 'node' and source_node = node"
VERDICT = "count > 0 and reason in ('policy', 'default_deny', 'explicit_deny')"
CASES = [
    (dict(source_ip=["10.0.0.5"]), "source_ip = '10.0.0.5'"),
    (dict(source_ip=["10.0.0.0/29"]), "ip_in_net(source_ip, '10.0.0.0/29')"),
    (dict(source_ip=["FD00:0::/64"]), "source_ip like 'fd00:%'"),
    (dict(destination_ip=["93.184.216.34", "10.0.1.0/24"]), "destination_ip in ('93.184.216.34', '10.0.1.1')"),
    (dict(source_pod=["ns-1/"]), "source_namespace = 'ns-1'"),
    (dict(source_pod=["ns-1/Pod-1"]), "source_namespace = 'ns-1' and source_pod like 'Pod-1%'"),
    (dict(source_pod=["/Pod-2"]), "source_namespace is not null and source_pod like 'Pod-2%'"),
    (dict(destination_pod=["redis"]), "destination_namespace = 'default' and destination_pod like 'redis%'"),
    (dict(source_pod=["ns-1/", "ns-2/"]), "source_namespace in ('ns-1', 'ns-2')"),
    (dict(destination_fqdn=["*.EXAMPLE.com."]), "destination_kind = 'world'"),
    (dict(destination_fqdn=["redis.default.svc"]), "array_has(destination_names, 'redis.default.svc')"),
    (dict(source_label=["app=web"]), f"{APP} = 'web'"),
    (dict(source_label=["k8s:app=web,tier!=back"]), f"{APP} = 'web' and coalesce({LABEL.format('tier')}, '') <> 'back'"),
    (dict(source_label=["app in (web, db),!tier"]), f"{APP} in ('web', 'db') and {LABEL.format('tier')} is null"),
    (dict(source_label=["app notin (web)"]), f"coalesce({APP}, '') <> 'web'"),
    (dict(source_label=["tier"]), f"{LABEL.format('tier')} is not null"),
    (dict(source_label=["k8s:io.kubernetes.pod.namespace=ns-1"]), "source_namespace = 'ns-1'"),
    (dict(source_label=["reserved:host"]), HOST),
    (dict(source_label=["reserved:remote-node"]), f"source_kind = 'node' and not coalesce({HOST}, false)"),
    (dict(destination_label=["reserved:world"]), "destination_kind = 'world'"),
    (dict(source_service=["kube-system/"]), "false"),
    (dict(destination_service=["kube-system/kube-d"]), "destination_service = 'kube-system/kube-dns'"),
    (dict(destination_service=["/kube-dns"]), "destination_service = 'kube-system/kube-dns'"),
    (dict(destination_workload=[dict(name="redis", kind="StatefulSet")]), "destination_workload = 'redis'"),
    (dict(source_workload=[dict(kind="Pod")]), "source_workload_kind = 'Pod'"),
    (dict(source_cluster_name=["test"]), "source_kind in ('pod', 'node')"),
    (dict(destination_cluster_name=["other"]), "false"),
    (dict(source_identity=[1]), HOST),
    (dict(destination_identity=[2]), "destination_kind = 'world'"),
    (dict(traffic_direction=[1]), "direction = 'ingress'"),
    (dict(traffic_direction=[2]), "direction = 'egress'"),
    (dict(verdict=[FORWARDED]), "verdict = 'allow'"),
    (dict(verdict=[DROPPED]), "verdict = 'deny'"),
    (dict(verdict=[AUDIT, DROPPED]), "verdict in ('audit', 'deny')"),
    (dict(verdict=[5]), "false"),
    (dict(drop_reason_desc=[133]), "verdict = 'deny' and reason = 'default_deny'"),
    (dict(drop_reason_desc=[181]), "verdict = 'deny' and reason = 'explicit_deny'"),
    (dict(drop_reason_desc=[132]), "reason = 'spoofed_source'"),
    (dict(drop_reason_desc=[0]), "verdict <> 'deny'"),
    (dict(event_type=[dict(type=0)]), "true"),
    (dict(event_type=[dict(type=1)]), "verdict = 'deny'"),
    (dict(event_type=[dict(type=1, match_sub_type=True, sub_type=181)]), "verdict = 'deny' and reason = 'explicit_deny'"),
    (dict(event_type=[dict(type=5)]), VERDICT),
    (dict(event_type=[dict(type=4)]), "verdict <> 'deny'"),
    (dict(event_type=[dict(type=4, match_sub_type=True)]), "verdict <> 'deny' and direction = 'ingress'"),
    (dict(event_type=[dict(type=129), dict(type=1)]), "verdict = 'deny'"),
    (dict(protocol=["tcp"]), "protocol = 'TCP'"),
    (dict(protocol=["UDP", "icmp"]), "protocol in ('UDP', 'ICMP')"),
    (dict(source_port=["40005"]), "source_port = 40005"),
    (dict(destination_port=["6379", "53"]), "destination_port in (6379, 53)"),
    (dict(reply=[False]), "true"),
    (dict(reply=[True]), "false"),
    (dict(tcp_flags=[dict(SYN=True, ACK=True)]), "tcp_flags & 18 = 18"),
    (dict(tcp_flags=[dict(SYN=True), dict(RST=True)]), "tcp_flags & 2 = 2 or tcp_flags & 4 = 4"),
    (dict(node_name=["node-1"]), "node = 'node-1'"),
    (dict(node_name=["test/*-0"]), "node = 'node-0'"),
    (dict(node_name=["other/node-1"]), "false"),
    (dict(ip_version=[1]), "not source_ip like '%:%'"),
    (dict(ip_version=[2]), "source_ip like '%:%'"),
    (dict(verdict=[DROPPED], protocol=["tcp"], source_pod=["ns-2/"]), "verdict = 'deny' and protocol = 'TCP' and source_namespace = 'ns-2'"),
]
some = 0
for wanted, condition in CASES:
    expected = count(condition)
    found = flows(number=10_000, whitelist=[Filter(**wanted)])
    assert len(found) == expected, (wanted, len(found), expected)
    times = [nanoseconds(flow.time) for flow in found]
    assert times == sorted(times), wanted
    if "event_type" not in wanted:
        rest = flows(number=10_000, blacklist=[Filter(**wanted)])
        assert len(rest) == TOTAL - expected, (wanted, len(rest), TOTAL - expected)
    some += 0 < expected < TOTAL
assert some > 40, some

# Lists of filters: any of the whitelist, none of the blacklist.
both = flows(
    number=10_000,
    whitelist=[Filter(source_port=["40005"]), Filter(destination_port=["53"])],
    blacklist=[Filter(verdict=[DROPPED]), Filter(source_label=["app=web"])],
)
expected = count(f"(source_port = 40005 or destination_port = 53) and verdict <> 'deny' and coalesce({APP}, '') <> 'web'")
assert len(both) == expected > 0, (len(both), expected)

# Denies are verdicts, or drops where only those are asked for.
drops = flows(number=10_000, whitelist=[Filter(event_type=[dict(type=1)])])
assert {flow.event_type.type for flow in drops} == {1}
assert {flow.event_type.sub_type for flow in drops} == {132, 133, 181}
everything = flows(number=10_000)
assert len(everything) == TOTAL
assert {flow.event_type.type for flow in everything} == {1, 4, 5}
shown = [flow for flow in everything if flow.event_type.type == 1]
assert len(flows(number=10_000, blacklist=[Filter(event_type=[dict(type=1)])])) == TOTAL - len(shown)

# A flow is found again by its identifier, which is its own.
assert len({flow.uuid for flow in everything}) == TOTAL
[again] = flows(number=10_000, whitelist=[Filter(uuid=[everything[7].uuid])])
assert again == everything[7]

for filter, part in [
    (dict(http_method=["GET"]), "http_method"),
    (dict(http_status_code=["200"]), "http_status_code"),
    (dict(http_path=["/"]), "http_path"),
    (dict(http_url=["/"]), "http_url"),
    (dict(http_header=[dict(key="a")]), "http_header"),
    (dict(dns_query=["a"]), "dns_query"),
    (dict(trace_id=["a"]), "trace_id"),
    (dict(source_ip_xlated=["10.0.0.1"]), "source_ip_xlated"),
    (dict(interface=[dict(name="eth0")]), "interface"),
    (dict(node_labels=["a=b"]), "node_labels"),
    (dict(ip_trace_id=[1]), "ip_trace_id"),
    (dict(encrypted=[True]), "encrypted"),
    (dict(experimental=b"\n\x04true"), "cel_expression"),
    (dict(protocol=["http"]), "application"),
    (dict(protocol=["tpc"]), "no protocol"),
    (dict(event_type=[dict(type=129)]), "event types"),
    (dict(event_type=[dict(type=99), dict(type=1)]), "no event type 99"),
    (dict(source_port=["http"]), "no port"),
    (dict(source_port=["65536"]), "no port"),
    (dict(source_ip=["10.0.0.0/33"]), "no network"),
    (dict(source_label=["app=(web"]), "no label selector"),
    (dict(source_label=["cidr:10.0.0.0/8"]), "source"),
    (dict(source_fqdn=[""]), "empty"),
    (dict(node_name=["a/b/c"]), "slash"),
    (dict(source_identity=[4_000]), "label"),
    (dict(drop_reason_desc=[77]), "no drop reason"),
    (dict(verdict=[99]), "no verdict"),
]:
    message = refused(number=1, whitelist=[Filter(**filter)])
    assert part in message, (filter, message)
    refused(number=1, blacklist=[Filter(**filter)]) if "event_type" not in filter else None
print("passed")
