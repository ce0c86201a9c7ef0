import { describe, expect, it } from "vitest";
import type { Flow } from "../flow";
import { connectionOf, connectionSql, curl, hubbleLine, othersOf } from "./copies";
import { endsOf, flagsText, missingEnd } from "./ends";

const FLOW: Flow = {
  time: "2026-11-29T04:34:11.566878186Z",
  end_time: "2026-11-29T04:34:13.162000000Z",
  cluster: "demo",
  node: "node-1",
  direction: "ingress",
  verdict: "deny",
  reason: "default_deny",
  policies: [{ kind: "NetworkPolicy", namespace: "default", name: "redis", rule: null }],
  policy: "default/redis",
  policy_revision: 3,
  protocol: "TCP",
  source_ip: "10.77.2.66",
  source_port: 55414,
  destination_ip: "10.77.1.10",
  destination_port: 6379,
  tcp_flags: 2,
  icmp_type: null,
  icmp_code: null,
  source_kind: "pod",
  source_namespace: "default",
  source_pod: "rogue",
  source_workload_kind: "Pod",
  source_workload: "rogue",
  source_labels: { run: "rogue" },
  source_node: "node-2",
  source_names: [],
  destination_kind: "pod",
  destination_namespace: "default",
  destination_pod: "redis-0",
  destination_workload_kind: "StatefulSet",
  destination_workload: "redis",
  destination_labels: {},
  destination_node: "node-1",
  destination_names: [],
  destination_service: null,
  count: 1,
  packets: 1,
  bytes: 74,
  reply_packets: 0,
  reply_bytes: 0,
  duration_ns: null,
  rtt_ns: null,
  state: "active",
  connection_id: "1:2pJh=",
};

describe("what is copied", () => {
  it("reads like hubble", () => {
    expect(hubbleLine(FLOW)).toBe(
      "Nov 29 04:34:11.566: default/rogue:55414 <> default/redis-0:6379 policy-verdict:none INGRESS DENIED (TCP Flags: SYN)",
    );
    const world = {
      ...FLOW,
      verdict: "allow",
      policies: [],
      source_pod: null,
      source_ip: "2001:db8::1",
      source_kind: "world",
      protocol: "UDP",
    };
    expect(hubbleLine(world)).toBe(
      "Nov 29 04:34:11.566: [2001:db8::1]:55414 (world) -> default/redis-0:6379 INGRESS ALLOWED (UDP)",
    );
  });

  it("quotes for the shell and for SQL", () => {
    expect(curl("http://h:1", { filter: `a="it's"`, since: "1h", until: undefined })).toBe(
      `curl -sG 'http://h:1/api/v1/flows' --data-urlencode 'filter=a="it'\\''s"' --data-urlencode 'since=1h'`,
    );
    expect(connectionSql({ ...FLOW, connection_id: "1:a'b" })).toContain("connection_id = '1:a''b'");
  });

  it("looks for a connection from its begin on", () => {
    expect(connectionOf({ ...FLOW, duration_ns: 60_000_000_000 })).toEqual({
      filter: 'connection_id="1:2pJh="',
      since: "2026-11-29T04:33:08.162000000Z",
      until: "2026-11-29T04:44:13.162000000Z",
    });
    expect(connectionOf({ ...FLOW, connection_id: null }).filter).toBe(
      'source_ip="10.77.2.66" destination_ip="10.77.1.10"',
    );
  });
});

it("looks for the other end of denied attempts by their addresses", () => {
  expect(othersOf(FLOW)).toEqual({
    filter:
      'direction="egress" protocol="TCP" source_ip="10.77.2.66" destination_ip="10.77.1.10" destination_port=6379',
    since: "2026-11-29T04:34:10.566878186Z",
    until: "2026-11-29T04:34:14.162000000Z",
  });
  expect(othersOf({ ...FLOW, verdict: "audit" })).toEqual(connectionOf(FLOW));
});

describe("both ends", () => {
  const source = { ...FLOW, direction: "egress", node: "node-2", verdict: "allow", rtt_ns: 300_000 };

  it("sums the rows of each end", () => {
    const later = {
      ...source,
      time: "2026-11-29T04:34:20.000000000Z",
      verdict: "deny",
      tcp_flags: 16,
      bytes: 100,
    };
    const ends = endsOf([later, FLOW, source]);
    expect(ends.map((end) => [end.direction, end.rows, end.bytes, end.verdict])).toEqual([
      ["egress", 2, 174, "deny"],
      ["ingress", 1, 74, "deny"],
    ]);
    expect(flagsText(ends[0]!.tcp_flags)).toBe("SYN, ACK");
    expect(missingEnd(FLOW, ends)).toBe("");
  });

  it("says why one is missing", () => {
    expect(missingEnd(FLOW, endsOf([{ ...source, verdict: "deny" }]))).toMatch(/dropped at its source/);
    expect(missingEnd(FLOW, endsOf([source]))).toMatch(/did not arrive/);
    expect(missingEnd({ ...FLOW, source_kind: "world" }, endsOf([FLOW]))).toMatch(/source is no pod/);
  });
});
