// Policies with what they decided, in the order and choice in which they are looked at.

import type { Schemas } from "../../api/client";

export type Cluster = Schemas["Review"]["clusters"][number];
export type Policy = Cluster["policies"][number];
export type Lint = Policy["lints"][number];

/** A policy and where it is. */
export interface Row {
  cluster: string;
  /** The time of the review. */
  at: string;
  policy: Policy;
}

export const SORTS = ["name", "selects", "never", "allow", "deny", "audit", "last", "lints"] as const;
export type Sort = (typeof SORTS)[number];

export const CHOICES = [
  { id: "never", title: "Rules never hit", holds: (policy: Policy) => policy.never_hit > 0 },
  { id: "lints", title: "Something looks wrong", holds: (policy: Policy) => worst(policy) !== null },
  { id: "nothing", title: "Select no pod", holds: (policy: Policy) => policy.selects.count === 0 },
  { id: "audit", title: "Only report", holds: (policy: Policy) => policy.only_reports },
] as const;
export type Choice = (typeof CHOICES)[number]["id"];

export function rowsOf(clusters: readonly Cluster[]): Row[] {
  return clusters.flatMap(({ cluster, at, policies }) => policies.map((policy) => ({ cluster, at, policy })));
}

/** Those that are looked for, sorted. By name is from A on, by anything else the largest first. */
export function chosen(rows: readonly Row[], choice: string, text: string, sort: string): Row[] {
  const holds = CHOICES.find(({ id }) => id === choice)?.holds ?? (() => true);
  const wanted = text.trim().toLowerCase();
  const found = rows.filter(
    ({ policy }) =>
      holds(policy) && `${policy.namespace}/${policy.name} ${policy.kind}`.toLowerCase().includes(wanted),
  );
  const by = SORTS.find((known) => known === sort) ?? "name";
  const of = KEYS[by];
  return found.sort((left, right) => {
    const [a, b] = [of(left.policy), of(right.policy)];
    if (a !== b) return by === "name" ? (a < b ? -1 : 1) : a > b ? -1 : 1;
    return nameOf(left.policy) < nameOf(right.policy) ? -1 : 1;
  });
}

export function nameOf(policy: { namespace: string; name: string }): string {
  return policy.namespace === "" ? policy.name : `${policy.namespace}/${policy.name}`;
}

/** How bad the worst is that was found; null if nothing was. What only informs does not count. */
export function worst(policy: Policy): "error" | "warning" | null {
  for (const severity of ["error", "warning"] as const) {
    if (policy.lints.some((lint) => lint.severity === severity)) return severity;
  }
  return null;
}

/** What the policy and its rules decided together, and when last. */
export function hitsOf(policy: Policy): { allow: number; deny: number; audit: number; last: string } {
  const all = [policy, ...policy.rules];
  const sum = (verdict: "allow" | "deny" | "audit") => all.reduce((total, hits) => total + hits[verdict], 0);
  const last = all.reduce(
    (latest, { last_hit }) => ((last_hit ?? "") > latest ? (last_hit ?? "") : latest),
    "",
  );
  return { allow: sum("allow"), deny: sum("deny"), audit: sum("audit"), last };
}

/** For the address: `p*CLUSTER*KIND*NAMESPACE*NAME`. */
export function keyOf({
  cluster,
  policy,
}: Pick<Row, "cluster"> & { policy: Pick<Policy, "kind" | "namespace" | "name"> }) {
  const parts = [cluster, policy.kind, policy.namespace, policy.name];
  return `p*${parts.map((part) => encodeURIComponent(part).replaceAll("*", "%2A")).join("*")}`;
}

const KEYS: Record<Sort, (policy: Policy) => string | number> = {
  name: nameOf,
  selects: (policy) => policy.selects.count,
  never: (policy) => policy.never_hit,
  allow: (policy) => hitsOf(policy).allow,
  deny: (policy) => hitsOf(policy).deny,
  audit: (policy) => hitsOf(policy).audit,
  last: (policy) => hitsOf(policy).last,
  lints: (policy) => ["warning", "error"].indexOf(worst(policy) ?? ""),
};
