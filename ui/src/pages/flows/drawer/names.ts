// What an end is called.

import type { Flow, Group } from "../flow";

type End = "source" | "destination";

/** `namespace/pod`, or of a group the workload; an address where there is no name. */
export function whoOf(of: Flow | Group, end: End): string {
  const namespace = of[`${end}_namespace`];
  const workload = of[`${end}_workload`];
  if ("time" in of) {
    const pod = of[`${end}_pod`];
    if (pod !== null) return `${namespace ?? ""}/${pod}`;
    const [known] = of[`${end}_names`];
    const address = of[`${end}_ip`];
    if (of[`${end}_kind`] === "node") return `node ${of[`${end}_node`] ?? address}`;
    return known === undefined ? address : `${known} (${address})`;
  }
  if (workload !== null) return `${namespace ?? ""}/${workload}`;
  return KINDS[of[`${end}_kind`] ?? ""] ?? "somebody";
}

/** `TCP 6379`; the Service, where one was dialled. */
export function dialled(of: Flow | Group): string {
  const port = of.destination_port === null ? "" : ` ${of.destination_port}`;
  const service = of.destination_service === null ? "" : ` by Service ${of.destination_service}`;
  return `${of.protocol ?? ""}${port}${service}`;
}

const KINDS: Record<string, string> = {
  world: "outside the cluster",
  node: "a node",
  service: "a Service",
  unknown: "an unknown address",
};
