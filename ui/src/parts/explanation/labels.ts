// What selectors want of a pod's labels beside what the pod has.

import type { Clause, EntryTrace } from "../../api/explanation";
import type { Sign } from "./marks";

export interface Comparison {
  /** As `podSelector`, `namespaceSelector`. */
  selector: string;
  rows: ComparedLabel[];
}

export interface ComparedLabel {
  key: string;
  /** Empty: the selector says nothing of it. */
  wants: string;
  /** Null: there is no such label. */
  has: string | null;
  sign: Sign | "none";
}

const ABSENT = /^(?:wants )?(.*?); .* has no label /s;

/** Of one peer, or of a policy's own selector: a line for each label that it asks for, then those of the pod that
 * nobody asked for. `labels` are those of the pod; namespaces have none here, their clauses say it in words. */
export function compared(
  clauses: readonly Clause[],
  labels: Readonly<Record<string, string>> | undefined,
): Comparison[] {
  const bySelector = new Map<string, ComparedLabel[]>();
  for (const clause of clauses) {
    const found = /^(podSelector|namespaceSelector)\.(matchLabels\.(.*)|matchExpressions\[\d+\])$/s.exec(
      clause.field,
    );
    if (!found) continue;
    const [, selector, , key] = found;
    const row = line(clause, key, selector === "podSelector" ? labels : undefined);
    bySelector.set(selector!, [...(bySelector.get(selector!) ?? []), row]);
  }
  const comparisons = [...bySelector].map(([selector, rows]) => ({ selector, rows }));
  for (const { selector, rows } of comparisons) {
    if (selector !== "podSelector" || !labels) continue;
    const asked = new Set(rows.map((row) => row.key));
    for (const [key, has] of Object.entries(labels)) {
      if (!asked.has(key)) rows.push({ key, wants: "", has, sign: "none" });
    }
  }
  return comparisons;
}

/** The peer that is nearest to matching: that with the fewest clauses that fail. */
export function nearestPeer(peers: readonly EntryTrace[]): EntryTrace | undefined {
  const fails = (peer: EntryTrace) => peer.clauses.filter((clause) => !clause.matched).length;
  const withLabels = peers.filter((peer) => compared(peer.clauses, undefined).length > 0);
  return withLabels.reduce<EntryTrace | undefined>(
    (best, peer) => (best === undefined || fails(peer) < fails(best) ? peer : best),
    undefined,
  );
}

function line(
  clause: Clause,
  labelKey: string | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): ComparedLabel {
  const sign = clause.matched ? "matched" : "failed";
  const [wanted, met = ""] = halves(clause.text);
  const key = labelKey ?? wanted.split(" ")[0]!;
  const wants =
    labelKey !== undefined && wanted.startsWith(`${labelKey}=`) ? wanted.slice(labelKey.length + 1) : wanted;
  if (labels) return { key, wants, has: labels[key] ?? null, sign };
  const at = met.indexOf(` has ${key}=`);
  const has = ABSENT.test(clause.text) || at < 0 ? null : met.slice(at + ` has ${key}=`.length);
  return { key, wants, has, sign };
}

/** `wants A; B`, without the word. */
function halves(text: string): [string, string?] {
  const at = text.indexOf("; ");
  const wanted = (at < 0 ? text : text.slice(0, at)).replace(/^wants /, "");
  return at < 0 ? [wanted] : [wanted, text.slice(at + 2)];
}
