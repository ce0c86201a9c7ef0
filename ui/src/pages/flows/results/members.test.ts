import { expect, it } from "vitest";
import type { Group } from "../flow";
import { membersOf } from "./members";

const group = {
  cluster: "demo",
  direction: "ingress",
  verdict: "deny",
  reason: "default_deny",
  policy: "",
  protocol: "TCP",
  destination_port: 80,
  source_kind: "world",
  source_namespace: null,
  source_workload_kind: null,
  source_workload: null,
  destination_kind: "pod",
  destination_namespace: "shop",
  destination_workload_kind: "Deployment",
  destination_workload: "web",
  destination_service: null,
} as Group;

const names = (values: ReturnType<typeof membersOf>) => values.map(([field]) => field).join(" ");

it("asks for a group's rows with no more fields than it takes", () => {
  const short = "source_kind destination_namespace destination_workload verdict policy destination_port";
  const values = membersOf(group, [group, { ...group, destination_port: 81, cluster: "other" }], false);
  expect(names(values)).toBe(short);
  expect(values).toContainEqual(["policy", ""]);
  const dialled = { ...group, destination_service: "shop/web", protocol: "UDP" };
  const told = membersOf(group, [group, dialled], false);
  expect(names(told)).toBe(`${short} protocol destination_service`);
  expect(told).toContainEqual(["destination_service", null]);
  expect(names(membersOf(group, [group], true))).toContain("cluster");
});
