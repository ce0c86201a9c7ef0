// What ends and edges are called.

import { exact } from "../../state/time";
import type { VerdictName } from "../../state/view.svelte";
import type { End } from "./ends";
import { portWords, type Edge } from "./graph";

export const MARKS = { deny: "✕", audit: "△", allow: "✓" } as const;
const DONE = { deny: "denied", audit: "would be denied", allow: "allowed" } as const;

/** `shop/web`; a cluster's name only where there are several. */
export function title(end: End, clusters: readonly string[] = []): string {
  const name = end.name === "" ? "(no workload)" : end.name;
  const place = end.kind === "workload" ? `${end.namespace}/${name}` : name;
  return clusters.length > 1 ? `${end.cluster}: ${place}` : place;
}

/** An edge in a sentence, for those who do not see it. */
export function sentence(edge: Edge, clusters: readonly string[]): string {
  const ports = portWords(edge.ports, 5);
  return `${title(edge.source, clusters)} to ${title(edge.target, clusters)}: ${countWords(edge.verdict, edge.count)}, ${ports}`;
}

/** `12 denied`. */
export function countWords(verdict: VerdictName, count: number): string {
  return `${exact(count)} ${DONE[verdict]}`;
}

/** A number in few characters: `12.3k`. */
export function short(count: number): string {
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ] as const) {
    // What would be rounded up to the next unit is of the next unit.
    if (count >= size * 0.9995) {
      const value = count / size;
      return `${value >= 99.95 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, "")}${unit}`;
    }
  }
  return String(count);
}
