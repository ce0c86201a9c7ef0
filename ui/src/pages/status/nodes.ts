// Nodes, and what their collectors say: those that need somebody first.

import type { Schemas } from "../../api/client";

/** What a collector says of itself, as far as the page shows it; older ones say less. */
export interface CollectorStatus {
  cluster?: string;
  node?: string;
  version?: string;
  policy_revision?: number;
  behind_ms?: number | null;
  policies?: number;
  modes?: {
    established?: string;
    startup?: string;
    audit?: boolean;
    audited_namespaces?: number;
    audited_policies?: number;
  };
  self_test?: { passed: boolean; message: string; time_ns: number } | null;
  intervals?: { namespace: string; interval_ms: number; until_ns?: number; source: string }[];
  enforced_pods?: number;
  unenforced_count?: number;
  unenforced_pods?: string[];
  maps?: { map: string; entries: number | null; capacity: number; memory_bytes: number }[];
  unacknowledged_rows?: number;
  spool?: { bytes: number; limit_bytes: number; segments: number; oldest_ms: number; given_up: number };
  lost?: { stage: string; unit: string; count: number }[];
  problem_count?: number;
  problems?: string[];
}

interface Seen {
  collector: string;
  last_seen_ns: number;
  status: CollectorStatus | null;
}

export interface RelayStatus {
  version?: string;
  rows_acknowledged?: number;
  hot_rows?: number;
  hot_bytes?: number;
  stored_rows?: number;
  stored_bytes?: number;
  stored_files?: number;
  problems?: string[];
  collectors?: Seen[];
}

/** As table `nodes` has it. */
export interface KnownNode {
  cluster: string;
  name: string;
  addresses: string[];
}

export type NodeState = "none" | "silent" | "wrong" | "audit" | "enforced";

export interface NodeRow {
  id: string;
  cluster: string;
  name: string;
  addresses: string[];
  state: NodeState;
  /** Why it is in that state, in a few words each. */
  why: string[];
  /** Milliseconds since 1970; 0 if it was never heard. */
  heard: number;
  status: CollectorStatus | null;
}

/** As the service judges it. */
const ALIVE_MS = 30_000;
const BEHIND_MS = 5_000;
const ORDER: NodeState[] = ["wrong", "silent", "none", "audit", "enforced"];

export function relaysOf(status: Schemas["Status"]): Schemas["RelaySeen"][] {
  return [...(status.relay ? [status.relay] : []), ...status.other_relays];
}

/** Each node once, as the relay knows it that heard of it last; then those that no collector reports. */
export function nodesOf(status: Schemas["Status"], known: readonly KnownNode[], now: number): NodeRow[] {
  const latest = new Map<string, Seen>();
  for (const relay of relaysOf(status)) {
    for (const seen of (relay.status as RelayStatus | undefined)?.collectors ?? []) {
      const before = latest.get(seen.collector);
      if (!before || before.last_seen_ns < seen.last_seen_ns) latest.set(seen.collector, seen);
    }
  }
  const addresses = new Map(known.map((node) => [idOf(node.cluster, node.name), node.addresses]));
  const rows = [...latest.values()].map((seen) => row(seen, addresses, now));
  const reported = new Set(rows.map(({ id }) => id));
  for (const { cluster, name, addresses } of known) {
    const id = idOf(cluster, name);
    if (reported.has(id)) continue;
    const why = ["no collector has reported from it: policies are not enforced there"];
    rows.push({ id, cluster, name, addresses, state: "none", why, heard: 0, status: null });
  }
  return rows.sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.id < b.id ? -1 : 1));
}

export function unenforced(status: CollectorStatus): number {
  return Math.max(status.unenforced_count ?? 0, status.unenforced_pods?.length ?? 0);
}

/** `5s`, `1m`: as the service writes intervals. */
export function intervalText(milliseconds: number): string {
  if (milliseconds % 60_000 === 0) return `${milliseconds / 60_000}m`;
  return milliseconds % 1_000 === 0 ? `${milliseconds / 1_000}s` : `${milliseconds}ms`;
}

function idOf(cluster: string, name: string): string {
  return `${cluster}/${name}`;
}

function row(seen: Seen, addresses: ReadonlyMap<string, string[]>, now: number): NodeRow {
  const { status } = seen;
  const [cluster = "", ...rest] = seen.collector.split("/");
  const id = idOf(status?.cluster || cluster, status?.node || rest.join("/") || seen.collector);
  const heard = seen.last_seen_ns / 1e6;
  const base = {
    ...{ id, cluster: status?.cluster || cluster, name: status?.node || rest.join("/") || seen.collector },
    ...{ addresses: addresses.get(id) ?? [], heard, status },
  };
  if (now - heard > ALIVE_MS) {
    return { ...base, state: "silent", why: ["its collector is silent: changed policies are not enforced"] };
  }
  if (!status) return { ...base, state: "silent", why: ["its collector has not said how it is"] };
  const why = wrongs(status);
  if (why.length > 0) return { ...base, state: "wrong", why };
  if (status.modes?.audit) return { ...base, state: "audit", why: ["denies pass and are only recorded"] };
  return { ...base, state: "enforced", why: [] };
}

function wrongs(status: CollectorStatus): string[] {
  const problems = Math.max(status.problem_count ?? 0, status.problems?.length ?? 0);
  return [
    unenforced(status) > 0 && `${unenforced(status)} pods are not enforced`,
    status.self_test &&
      !status.self_test.passed &&
      `a deny was seen not to work: ${status.self_test.message}`,
    (status.behind_ms ?? 0) > BEHIND_MS && `older policies than the cluster's are in force`,
    problems > 0 && `${problems} ${problems === 1 ? "problem" : "problems"}`,
  ].filter((text) => typeof text === "string");
}
