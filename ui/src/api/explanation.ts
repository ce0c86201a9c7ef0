// What `POST /api/v1/policies/explain` answers with. The served description says of some of it only that it is
// an object; these are its fields.

import { post, type Schemas } from "./client";

export type VerdictWord = "allow" | "deny" | "audit";
export type DirectionWord = "egress" | "ingress";
export type PolicyRule = Schemas["PolicyRule"];

/** The whole answer. */
export interface Explained {
  cluster: string;
  /** The time whose state of the cluster explains. */
  at: string;
  explanation: Explanation;
  /** What the row says, where one was explained. */
  recorded: {
    direction: DirectionWord;
    verdict: VerdictWord;
    reason: string;
    policies: PolicyRule[] | null;
  } | null;
  /** Whether the explanation comes to what was recorded; null where nobody can say. */
  agrees: boolean | null;
  notes: string[];
}

export interface Explanation {
  sentence: string;
  verdict: VerdictWord | "mixed" | "unknown";
  /** Null where a flow was explained. */
  question: Question | null;
  /** One for each different answer; attempts that are judged alike share one. */
  answers: Answer[];
  notes: string[];
  mistakes: Mistake[];
  /** Makes everything that was asked for allowed; null if it is, or if no change of policies can. */
  diff: string | null;
}

export interface Question {
  from: string;
  to: string;
  port: number;
  protocol: string;
}

export interface Answer {
  sentence: string;
  verdict: VerdictWord;
  attempts: Attempt[];
  /** At the source; null if it is no pod that policies apply to. */
  egress: Side | null;
  /** At the destination; likewise. */
  ingress: Side | null;
  /** One for each end that denies, to be made in order. */
  changes: Change[];
  mistakes: Mistake[];
}

export interface Attempt {
  source: string;
  source_address: string;
  destination: string;
  destination_address: string;
  port: number;
  protocol: string;
}

/** What one end's policies say. */
export interface Side {
  direction: DirectionWord;
  /** The enforced pod, `namespace/name`. */
  pod: string;
  peer: string;
  verdict: VerdictWord;
  reason: string;
  rules: PolicyRule[];
  isolated_by: PolicyRule[];
  /** In the order in which they are asked; those that leave the pod alone come last. */
  policies: PolicyTrace[];
  policies_left_out: number;
}

export type Outcome =
  "allows" | "denies" | "passes" | "isolates" | "no_rule" | "other_direction" | "not_selected" | "not_asked";

export interface PolicyTrace {
  kind: string;
  /** Empty for policies without one. */
  namespace: string;
  name: string;
  tier: "admin" | "network_policy" | "baseline";
  /** Its denies are only reported. */
  audit: boolean;
  outcome: Outcome;
  subject: Clause[];
  rules: RuleTrace[];
}

export interface RuleTrace {
  /** From 0. */
  index: number;
  name: string | null;
  action: "Allow" | "Deny" | "Pass";
  matched: boolean;
  peer_matched: boolean;
  port_matched: boolean;
  peers: EntryTrace[];
  ports: EntryTrace[];
}

export interface EntryTrace {
  /** From 0. */
  index: number;
  matched: boolean;
  clauses: Clause[];
}

/** One condition. */
export interface Clause {
  /** As in the manifest, such as `podSelector.matchLabels.app`. */
  field: string;
  matched: boolean;
  /** What it wants and what it met. */
  text: string;
}

/** A change of one policy, or a new one. */
export interface Change {
  direction: DirectionWord;
  sentence: string;
  kind: string;
  namespace: string;
  name: string;
  rule: number | null;
  new: boolean;
  cost: number;
  /** Unified, for `patch -p1` or `git apply`. */
  diff: string;
}

export interface Mistake {
  id: string;
  sentence: string;
  fix: string;
}

/** What may be asked: about two ends, or about a row of flows. */
export type Asked =
  | { from: string; to: string; port: number; protocol?: string; at?: string; cluster?: string }
  | { flow: Schemas["FlowRow"] };

export function explain(asked: Asked, signal?: AbortSignal): Promise<Explained> {
  return post<Explained>("/api/v1/policies/explain", asked, signal);
}
