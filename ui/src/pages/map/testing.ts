// Groups for tests.

import type { Group } from "./ends";

/** A group between two pods, `namespace/workload` each; another kind of end by its kind alone. */
export function group(from: string, to: string, more: Partial<Group> = {}): Group {
  return {
    ...{ cluster: "lab", direction: "ingress", verdict: "deny", reason: "default_deny", policy: "" },
    ...{ protocol: "TCP", destination_service: null, destination_port: 80 },
    ...{ count: 1, bytes: 10, reply_bytes: 5, counts: [] },
    ...{ first_seen: "2026-11-29T04:00:00Z", last_seen: "2026-11-29T04:00:00Z" },
    ...{ ...end(from, "source"), ...end(to, "destination") },
    ...more,
  } as Group;
}

function end(text: string, side: "source" | "destination"): Partial<Group> {
  const [namespace = null, workload = null] = text.includes("/") ? text.split("/") : [];
  return {
    [`${side}_kind`]: workload === null ? text : "pod",
    [`${side}_namespace`]: namespace,
    [`${side}_workload_kind`]: workload === null ? null : "Deployment",
    [`${side}_workload`]: workload,
  };
}
