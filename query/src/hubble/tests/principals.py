"""Two who are let in, and nobody: alice is granted one namespace."""

ALICE, ROOT = sys.argv[4], sys.argv[5]


def bearer(token):
    return [("authorization", f"Bearer {token}")]


for metadata in [None, bearer("guessed-by-somebody")]:
    refused(code=grpc.StatusCode.UNAUTHENTICATED, number=1, metadata=metadata)
    try:
        ask("ServerStatus", metadata=metadata)
        raise SystemExit("nobody was let in")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error

own = sql("select count(*) as n from flows", ALICE)[0]["n"]
everything = sql("select count(*) as n from flows", ROOT)[0]["n"]
assert 0 < own < everything
for token, expected in [(ALICE, own), (ROOT, everything)]:
    found = flows(number=10_000, metadata=bearer(token))
    assert len(found) == expected, (len(found), expected)
    assert ask("ServerStatus", metadata=bearer(token)).num_flows == expected
foreign = [
    dict(whitelist=[Filter(source_pod=["ns-2/"])]),
    dict(whitelist=[Filter(), Filter(source_label=["io.kubernetes.pod.namespace in (ns-0, ns-2)"])]),
    dict(blacklist=[Filter(source_pod=["ns-1/"])]),
    dict(since=timestamp_pb2.Timestamp()),
    dict(number=10_000, first=True),
]
for request in foreign:
    for flow in flows(metadata=bearer(ALICE), **request):
        assert "ns-1" in (flow.source.namespace, flow.destination.namespace), flow
assert len(flows(metadata=bearer(ALICE), blacklist=[Filter(source_pod=["ns-1/"])])) == 0
names = [found.namespace for found in ask("GetNamespaces", metadata=bearer(ALICE)).namespaces]
assert names == ["ns-1"], names
assert len(ask("GetNamespaces", metadata=bearer(ROOT)).namespaces) > 2
# Alice has no flow of today, so no node is shown to her.
assert len(ask("GetNodes", metadata=bearer(ALICE)).nodes) == 0
live = get_flows(metadata=bearer(ALICE), follow=True)
seen = 0
for response in live:
    if response.HasField("flow"):
        assert response.flow.source.namespace == "ns-1", response
        seen += 1
    if seen == 10:
        live.cancel()
        break
print("passed")
