"""Requests that nobody should send: each is answered or refused with words, and the service lives."""

assert "filters" in refused(number=1, whitelist=[Filter(source_port=["1"])] * 5_000)
assert "filters" in refused(number=1, whitelist=[Filter()] * 100, blacklist=[Filter()] * 100)
assert "values" in refused(number=1, whitelist=[Filter(source_ip=["10.0.0.1"] * 5_000)])
assert "values" in refused(number=1, blacklist=[Filter(reply=[True] * 20_000)])
assert "bytes" in refused(number=1, whitelist=[Filter(source_pod=["a" * 5_000])])
assert "label" in refused(number=1, whitelist=[Filter(source_label=["(" * 900])])
assert "requirements" in refused(number=1, whitelist=[Filter(source_label=["a," * 400 + "a"])])
code = grpc.StatusCode.OUT_OF_RANGE
refused(code=code, number=1, whitelist=[Filter(source_pod=["a" * 2_000_000])])
# As much as is allowed.
many = [Filter(source_ip=[f"10.{n}.{m}.0/24" for m in range(7)]) for n in range(128)]
assert flows(number=5, whitelist=many) != []
assert flows(number=5, whitelist=[Filter(destination_fqdn=["*" * 900, "a*" * 450])] * 100) is not None
assert flows(number=5, whitelist=[Filter(node_name=["**" * 450])]) != []
assert len(flows(number=2**64 - 1, whitelist=[Filter(source_label=["!" + "a" * 900])])) == 30

assert len(flows(number=10_000)) == 30
print("passed")
