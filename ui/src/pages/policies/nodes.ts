// Whether policies are enforced, node by node, from what collectors say of themselves.

import type { Schemas } from "../../api/client";

/** What of a collector's status is used here. */
export interface Collector {
  collector: string;
  last_seen_ns: number;
  status: {
    cluster: string;
    node: string;
    policy_revision: number;
    behind_ms: number | null;
    policies: number;
    modes: {
      audit: boolean;
      audited_namespaces: number;
      audited_policies: number;
      startup: string;
      established: string;
    };
    self_test: { passed: boolean; message: string } | null;
    enforced_pods: number;
    unenforced_count: number;
    unenforced_pods: string[];
    problem_count: number;
    problems: string[];
  } | null;
}

export interface Node {
  name: string;
  collector: Collector;
  /** In words; empty if it enforces everything. */
  wrong: string[];
}

/** As the service counts: whoever is silent for longer is not alive, and whoever is behind for longer has failed. */
const ALIVE_MS = 30_000;
const BEHIND_MS = 5_000;

/** Those with something wrong first. A collector that changed its relay counts as it was heard of last. */
export function nodesOf(status: Schemas["Status"], now: number): Node[] {
  const relays = [status.relay, ...status.other_relays];
  const all = relays.flatMap(
    (relay) => (relay?.status as { collectors?: Collector[] } | undefined)?.collectors ?? [],
  );
  const latest = new Map<string, Collector>();
  for (const collector of all) {
    const known = latest.get(collector.collector);
    if (!known || known.last_seen_ns < collector.last_seen_ns) latest.set(collector.collector, collector);
  }
  return [...latest.values()]
    .map((collector) => ({ name: collector.collector, collector, wrong: wrongOf(collector, now) }))
    .sort((a, b) => b.wrong.length - a.wrong.length || (a.name < b.name ? -1 : 1));
}

function wrongOf({ last_seen_ns, status }: Collector, now: number): string[] {
  const wrong: string[] = [];
  const silent = now - last_seen_ns / 1e6;
  if (silent > ALIVE_MS) wrong.push(`silent for ${Math.round(silent / 1_000)} s`);
  if (!status) return [...wrong, "has said nothing of itself"];
  if (status.unenforced_count > 0) wrong.push(`${status.unenforced_count} pods are not enforced`);
  if (status.self_test && !status.self_test.passed)
    wrong.push(`a deny was seen not to work: ${status.self_test.message}`);
  if ((status.behind_ms ?? 0) > BEHIND_MS) {
    wrong.push(`policies in force are ${Math.round(status.behind_ms! / 1_000)} s older than the cluster's`);
  }
  return wrong;
}
