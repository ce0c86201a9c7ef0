// Which lines of a policy decided, and how: from its trace to lines of its text.

import type { Clause, DirectionWord, EntryTrace, PolicyTrace, RuleTrace } from "../../api/explanation";
import { locate, nearest, type Located, type Step } from "./locate";

/** `decides`: because of this line it is as it is; `failed` and `matched`: whether a condition on it holds;
 * `counted`: something to know of it, such as how often it decided; `warned`: it looks wrong. */
export type Sign = "decides" | "failed" | "matched" | "counted" | "warned";

export interface Mark {
  sign: Sign;
  notes: string[];
}

export interface Marked {
  lines: string[];
  /** By line, from 0. */
  marks: Map<number, Mark>;
}

/** Says something of the line on which a field, or what is around it, begins. */
export type Marking = (path: Step[], sign: Sign, note: string) => void;

const STRENGTH: Record<Sign, number> = { decides: 4, failed: 3, warned: 2, counted: 1, matched: 0 };

/** What is said of one line by several comes together: the strongest sign and all notes. */
export function marking(located: Located, marks: Map<number, Mark>): Marking {
  return (path, sign, note) => {
    const line = nearest(located, path)?.first;
    if (line === undefined) return;
    const known = marks.get(line);
    if (!known) marks.set(line, { sign, notes: note === "" ? [] : [note] });
    else {
      if (STRENGTH[sign] > STRENGTH[known.sign]) known.sign = sign;
      if (note !== "" && !known.notes.includes(note)) known.notes.push(note);
    }
  };
}

export function marked(text: string, policy: PolicyTrace, direction: DirectionWord): Marked {
  const located = locate(text);
  const marks = new Map<number, Mark>();
  const mark = marking(located, marks);
  for (const clause of policy.subject) {
    mark(subject(located, policy, clause), clause.matched ? "matched" : "failed", clause.text);
  }
  const isolating = policy.outcome === "isolates" || policy.outcome === "allows";
  if (policy.tier === "network_policy" && isolating) {
    const sign = policy.outcome === "isolates" ? "decides" : "matched";
    mark(typeOf(located, direction), sign, `isolates what it selects for ${direction}`);
  }
  const decides = policy.outcome === "allows" || policy.outcome === "denies" || policy.outcome === "passes";
  const first = policy.rules.find((rule) => rule.matched);
  for (const rule of policy.rules) {
    const at = ["spec", direction, rule.index];
    const isDeciding =
      decides && rule.matched && (policy.tier === "network_policy" || rule.index === first?.index);
    if (isDeciding) mark(at, "decides", `${ordinal(rule.index)} rule: ${VERBS[rule.action]} it`);
    entries(located, [...at, direction === "ingress" ? "from" : "to"], rule.peers, mark);
    entries(located, [...at, portsField(located, at)], rule.ports, mark);
    bounds(rule, at, mark);
  }
  return { lines: located.lines, marks };
}

/** `1st` for 0. */
export function ordinal(index: number): string {
  const number = index + 1;
  const ending = number % 100 >= 11 && number % 100 <= 13 ? "th" : (ENDINGS[number % 10] ?? "th");
  return `${number}${ending}`;
}

const ENDINGS: Record<number, string> = { 1: "st", 2: "nd", 3: "rd" };
const VERBS: Record<RuleTrace["action"], string> = { Allow: "allows", Deny: "denies", Pass: "hands on" };

/** Where a clause about the policy's own pods is written. */
function subject(located: Located, policy: PolicyTrace, clause: Clause): Step[] {
  if (policy.tier === "network_policy") return ["spec", ...steps(clause.field)];
  return tierPods(located, ["spec", "subject"], clause.field);
}

/** Tiers write `namespaces: {…}`, or `pods: {namespaceSelector, podSelector}`. */
function tierPods(located: Located, at: Step[], field: string): Step[] {
  const way = steps(field);
  if (located.find([...at, "namespaces"])) return [...at, "namespaces", ...way.slice(1)];
  return [...at, "pods", ...way];
}

/** Entries one by one if the text has as many: tiers may count several where one is written. */
function entries(located: Located, at: Step[], list: EntryTrace[], mark: Marking): void {
  const isOne = located.count(at) === list.length;
  for (const entry of list) {
    const base = isOne ? [...at, entry.index] : at;
    for (const clause of entry.clauses) {
      const inTier = isOne && (located.find([...base, "pods"]) ?? located.find([...base, "namespaces"]));
      const path = inTier ? tierPods(located, base, clause.field) : [...base, ...steps(clause.field)];
      mark(isOne ? path : at, clause.matched ? "matched" : "failed", clause.text);
    }
  }
}

/** What a rule covers because it says nothing of it. */
function bounds(rule: RuleTrace, at: Step[], mark: Marking): void {
  if (rule.peers.length === 0 && rule.peer_matched) mark(at, "matched", "no peers: everybody");
  if (rule.ports.length === 0 && rule.port_matched) mark(at, "matched", "no ports: all of them");
}

function portsField(located: Located, at: Step[]): string {
  return located.find([...at, "protocols"]) ? "protocols" : "ports";
}

/** The entry of `policyTypes`, or the rules that stand for it where there is none. */
export function typeOf(located: Located, direction: DirectionWord): Step[] {
  const path = ["spec", "policyTypes"];
  const word = direction === "ingress" ? "Ingress" : "Egress";
  for (let index = 0; index < located.count(path); index += 1) {
    const line = located.find([...path, index])?.first;
    if (line !== undefined && located.lines[line]!.includes(word)) return [...path, index];
  }
  return ["spec", direction];
}

/** `podSelector.matchLabels.app.kubernetes.io/name` is three steps: what follows `matchLabels` is one key. */
export function steps(field: string): Step[] {
  const labels = /^(.*?)\.?matchLabels\.(.*)$/s.exec(field);
  if (labels) return [...steps(labels[1]!), "matchLabels", labels[2]!];
  return field
    .split(".")
    .filter((step) => step !== "")
    .flatMap((step) => {
      const indexed = /^(.*)\[(\d+)\]$/.exec(step);
      return indexed ? [indexed[1]!, Number(indexed[2])] : [step];
    });
}
