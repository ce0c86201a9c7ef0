"""Requests that nobody should send: each is answered or refused with words, and the service lives."""

import random

OK = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL}

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

random.seed(7)
words = ["app", "k8s:", "reserved:", "(", ")", ",", "!", "=", "!=", " in ", " notin ", "a b", "\u00e4", "'", "\\", "*", "/", ":", "\x00", "%"]
fields = ["source_pod", "source_label", "destination_fqdn", "source_service", "node_name", "source_ip", "protocol", "source_port", "uuid"]
answered = 0
for _ in range(400):
    text = "".join(random.choice(words) for _ in range(random.randrange(1, 8)))
    try:
        list(get_flows(number=1, whitelist=[Filter(**{random.choice(fields): [text]})]))
        answered += 1
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and error.details(), (text, error)
assert answered > 20, answered
for _ in range(400):
    raw = bytes([0x32]) + bytes(random.randrange(256) for _ in range(random.randrange(40)))
    call = get_flows(raw=random.choice([raw, raw[1:], bytes([0x32, max(0, len(raw) - 1)]) + raw[1:], bytes([0x08, 1]) + raw]), timeout=2)
    try:
        for _ in call:
            call.cancel()
            break
    except grpc.RpcError as error:
        # What asks to follow ends with the client's patience.
        assert error.code() in OK | {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}, error
assert len(flows(number=10_000)) == 30
print("passed")
