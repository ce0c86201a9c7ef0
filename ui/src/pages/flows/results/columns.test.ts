import { describe, expect, it } from "vitest";
import { excluding, including } from "./edits";
import type { Flow, Group } from "../flow";
import {
  FLOW_COLUMNS,
  FLOW_PRESETS,
  GROUP_COLUMNS,
  GROUP_PRESETS,
  chosen,
  columnOf,
  flags,
  written,
} from "./columns";

const flow = {
  verdict: "deny",
  protocol: "TCP",
  destination_port: 5432,
  source_ip: "192.0.2.1",
  source_kind: "world",
  source_names: [],
  source_pod: null,
  source_namespace: null,
  source_workload: null,
  destination_kind: "pod",
  destination_namespace: "shop",
  destination_pod: "db-0",
  destination_workload: "db",
  destination_labels: { "app.kubernetes.io/name": 'a"b', constructor2: "x" } as Record<string, string>,
  policies: [{ kind: "NetworkPolicy", namespace: "shop", name: "db", rule: 2 }],
} as unknown as Flow;

const of = (id: string) => columnOf(id, FLOW_COLUMNS)!;

describe("columns of flows", () => {
  it("are what the address names, in its order", () => {
    const choice = chosen("reason,time,nonsense,reason", FLOW_COLUMNS, FLOW_PRESETS);
    expect(choice.columns.map(({ id }) => id)).toEqual(["reason", "time"]);
    expect(choice.unknown).toEqual(["nonsense"]);
    expect(choice.preset).toBe("");
    expect(chosen("", FLOW_COLUMNS, FLOW_PRESETS).preset).toBe("default");
    expect(chosen("traffic", GROUP_COLUMNS, GROUP_PRESETS).preset).toBe("traffic");
    expect(chosen("nonsense", FLOW_COLUMNS, FLOW_PRESETS)).toMatchObject({
      preset: "default",
      unknown: ["nonsense"],
    });
  });

  it("have names in the address only where they differ from the preset", () => {
    expect(written(FLOW_PRESETS[0]!.columns, FLOW_PRESETS)).toBe("");
    expect(written(FLOW_PRESETS[1]!.columns, FLOW_PRESETS)).toBe("workloads");
    expect(written(["time", "node"], FLOW_PRESETS)).toBe("time,node");
  });

  it("exist for every preset", () => {
    for (const { columns } of FLOW_PRESETS)
      columns.forEach((id) => expect(columnOf(id, FLOW_COLUMNS), id).not.toBeNull());
    for (const { columns } of GROUP_PRESETS)
      columns.forEach((id) => expect(columnOf(id, GROUP_COLUMNS), id).not.toBeNull());
  });

  it("ask for the value that is clicked", () => {
    expect(of("source").text(flow)).toBe("world 192.0.2.1");
    expect(of("source").values(flow)).toEqual([["source_ip", "192.0.2.1"]]);
    expect(of("destination").values(flow)).toEqual([
      ["destination_namespace", "shop"],
      ["destination_pod", "db-0"],
    ]);
    expect(of("port").text(flow)).toBe("5432/TCP");
    expect(of("port").values(flow)).toEqual([
      ["destination_port", 5432],
      ["protocol", "TCP"],
    ]);
    expect(of("source_workload_name").values(flow)).toEqual([["source_kind", "world"]]);
    expect(of("source_namespace").values(flow)).toEqual([["source_namespace", null]]);
    expect(of("policies").text(flow)).toBe("shop/db[2]");
    expect(of("time").values(flow)).toEqual([]);
  });

  it("are there for labels, whatever their keys", () => {
    const label = of("destination_labels.app.kubernetes.io/name");
    expect(label.text(flow)).toBe('a"b');
    expect(label.values(flow)).toEqual([['destination_labels."app.kubernetes.io/name"', 'a"b']]);
    expect(of("destination_labels.constructor").text(flow)).toBe("");
    expect(of("destination_labels.constructor").values(flow)).toEqual([]);
    expect(columnOf<Group>("source_labels.app", GROUP_COLUMNS)).toBeNull();
  });

  it("spell flags out", () => {
    expect(flags(18)).toBe("SYN ACK");
    expect(flags(null)).toBe("");
  });
});

describe("clicks on values", () => {
  it("narrow to the value, in one condition a field", () => {
    const values = of("destination").values(flow);
    expect(including('destination_namespace=("shop" OR "web") count>1', values)).toBe(
      'count>1 destination_namespace="shop" destination_pod="db-0"',
    );
    expect(excluding("count>1", values)).toBe(
      'count>1 NOT (destination_namespace="shop" destination_pod="db-0")',
    );
    expect(excluding("", [["reason", "default_deny"]])).toBe('NOT reason="default_deny"');
    expect(including("", [["source_namespace", null]])).toBe("NOT source_namespace:*");
  });
});
