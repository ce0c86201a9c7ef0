// Who is at an end of a flow: a workload, a whole namespace, or what has no name in the cluster.

import type { Schemas } from "../../api/client";
import { and, equals } from "../../filter/edit";

export type Group = Schemas["Groups"]["groups"][number];
export type Side = "source" | "destination";

export interface End {
  /** The same for the same end in every answer; may stand in an address. */
  id: string;
  kind: "workload" | "namespace" | "node" | "service" | "world" | "unknown";
  cluster: string;
  /** Empty where it is in none. */
  namespace: string;
  name: string;
  /** As `Deployment`; of other ends what they are in a word or two. */
  what: string;
}

const NAMELESS = {
  node: ["Nodes", "hosts of the cluster"],
  world: ["World", "outside the cluster"],
  unknown: ["Unknown", "addresses nobody knows"],
} as const;

/** The end of a group; of a pod whose namespace is collapsed, the namespace. */
export function endOf(group: Group, side: Side, collapsed: (namespace: string) => boolean): End {
  const cluster = group.cluster ?? "";
  const kind = group[`${side}_kind`];
  if (kind === "pod") {
    const namespace = group[`${side}_namespace`] ?? "";
    if (collapsed(namespace)) {
      const id = idOf(cluster, "namespace", namespace);
      return { id, kind: "namespace", cluster, namespace, name: namespace, what: "namespace" };
    }
    const what = group[`${side}_workload_kind`] ?? "";
    const name = group[`${side}_workload`] ?? "";
    const id = idOf(cluster, "workload", namespace, what, name);
    return { id, kind: "workload", cluster, namespace, name, what };
  }
  if (kind === "service" && side === "destination") {
    const name = group.destination_service ?? "";
    const id = idOf(cluster, "service", name);
    return { id, kind: "service", cluster, namespace: "", name, what: "service, no pod known" };
  }
  const known = kind === "node" || kind === "world" ? kind : "unknown";
  const [name, what] = NAMELESS[known];
  return { id: idOf(cluster, known), kind: known, cluster, namespace: "", name, what };
}

/** What flows with that end at that side have, in the Cloud Logging language. */
export function filterOf(end: End, side: Side, withCluster: boolean): string {
  const cluster = withCluster ? equals("cluster", end.cluster) : "";
  return and(cluster, ownFilter(end, side));
}

function ownFilter(end: End, side: Side): string {
  const text = (field: string, value: string) =>
    value === "" ? `${side}_${field}=NULL_VALUE` : equals(`${side}_${field}`, value);
  if (end.kind === "namespace") return and(equals(`${side}_kind`, "pod"), text("namespace", end.namespace));
  if (end.kind === "workload") {
    return [text("namespace", end.namespace), text("workload_kind", end.what), text("workload", end.name)]
      .filter((part) => part !== "")
      .join(" ");
  }
  const kind = equals(`${side}_kind`, end.kind);
  return end.kind === "service" && end.name !== "" ? and(kind, text("service", end.name)) : kind;
}

function idOf(...parts: string[]): string {
  return parts.map(encodeURIComponent).join("/");
}
