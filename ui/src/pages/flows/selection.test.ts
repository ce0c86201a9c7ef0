import { describe, expect, it } from "vitest";
import type { Flow, Group } from "./flow";
import { filterOf, groupKey, isSelected, nanoseconds, rowKey, selectionOf, timeOf } from "./selection";

const flow = {
  time: "2026-11-28T14:03:07.123456789Z",
  cluster: "demo",
  node: "node_1*x",
  direction: "egress",
  state: "open",
  connection_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
  protocol: "TCP",
  source_ip: "10.0.0.1",
  source_port: 40_000,
  destination_ip: "10.0.0.2",
  destination_port: 5432,
  icmp_type: null,
  icmp_code: null,
} as Flow;

const group = {
  cluster: "demo",
  direction: "ingress",
  verdict: "deny",
  reason: "default_deny",
  policy: 'shop/a"b',
  protocol: "TCP",
  destination_port: 5432,
  source_kind: "world",
  source_namespace: null,
  source_workload_kind: null,
  source_workload: null,
  destination_kind: "pod",
  destination_namespace: "shop",
  destination_workload_kind: "Deployment",
  destination_workload: "_n",
  destination_service: null,
} as Group;

describe("what is selected, as a text", () => {
  it("finds a row by the nanosecond it is of", () => {
    const selection = selectionOf(rowKey(flow))!;
    expect(selection).toMatchObject({ kind: "row", time: flow.time });
    expect(filterOf(selection)).toEqual({
      filter:
        'cluster="demo" node="node_1*x" direction="egress" state="open" connection_id="1:LQU9qZlK+B5F3KDmev6m5PMibrg="',
      since: "2026-11-28T14:03:07.123456789Z",
      until: "2026-11-28T14:03:07.123456790Z",
    });
    expect(isSelected(selection, flow)).toBe(true);
    expect(isSelected(selection, { ...flow, node: "NODE_1*X" })).toBe(false);
    expect(isSelected(selection, { ...flow, time: "2026-11-28T14:03:07.123456788Z" })).toBe(false);
    expect(isSelected(selection, group)).toBe(false);
  });

  it("takes the addresses where there is no connection id", () => {
    const bare = { ...flow, connection_id: null, source_port: null };
    const selection = selectionOf(rowKey(bare))!;
    expect(filterOf(selection).filter).toContain(
      'connection_id=NULL_VALUE protocol="TCP" source_ip="10.0.0.1" source_port=NULL_VALUE',
    );
    expect(isSelected(selection, bare)).toBe(true);
    expect(isSelected(selection, { ...bare, destination_port: 5433 })).toBe(false);
  });

  it("keeps a group's numbers, nulls and hostile names apart", () => {
    const selection = selectionOf(groupKey(group))!;
    expect(selection.fields).toEqual(group);
    const { filter, since } = filterOf(selection);
    expect(since).toBeUndefined();
    expect(filter).toContain('policy="shop/a\\"b" protocol="TCP" destination_port=5432');
    expect(filter).toContain('source_workload=NULL_VALUE destination_kind="pod"');
    expect(filter).toContain('destination_workload="_n"');
  });

  it("selects nothing by what is no selection", () => {
    for (const text of ["", "r", "g*a", "r*!*a*b*c*d*e", "r*zz*a", `${rowKey(flow)}*more`, "x*1"]) {
      expect(selectionOf(text), text).toBeNull();
    }
  });

  it("reads times with any number of digits", () => {
    expect(timeOf(nanoseconds("2026-11-28T14:03:07.1Z"))).toBe("2026-11-28T14:03:07.100000000Z");
    expect(timeOf(nanoseconds("2026-11-28T23:59:59.999999999Z") + 1n)).toBe("2026-11-29T00:00:00.000000000Z");
    expect(nanoseconds("1970-01-01T01:00:01+01:00")).toBe(1_000_000_000n);
  });
});
