// Words of a trace, as people read them.

import type { Explanation, Outcome, PolicyTrace, RuleTrace } from "../../api/explanation";
import type { Sign } from "./marks";

export const OUTCOMES: Record<Outcome, { text: string; sign: Sign | "none" }> = {
  allows: { text: "allows it", sign: "matched" },
  denies: { text: "denies it", sign: "failed" },
  passes: { text: "hands on", sign: "none" },
  isolates: { text: "isolates the pod, and no rule of it covers this", sign: "failed" },
  no_rule: { text: "no rule covers this", sign: "none" },
  other_direction: { text: "is about the other direction", sign: "none" },
  not_selected: { text: "does not select the pod", sign: "none" },
  not_asked: { text: "not asked: it was decided before", sign: "none" },
};

export const REASONS: Record<string, string> = {
  policy: "a rule allowed it",
  no_policy: "no policy isolates the pod",
  default_deny: "isolated, and no rule allowed it",
  explicit_deny: "a rule denied it",
  node_traffic: "from or to the pod's own node",
  invalid_packet: "the packet cannot be parsed",
  spoofed_source: "sent from an address that is not the pod's",
  not_ready: "the pod's policy was not in the kernel yet",
  related: "an ICMP error about a known connection",
  fragment: "a later fragment, its first one was not seen",
};

export const TIERS: Record<PolicyTrace["tier"], string> = {
  admin: "admin tier",
  network_policy: "NetworkPolicies",
  baseline: "baseline tier",
};

export const SIGNS: Record<Sign | "none", { shape: string; text: string }> = {
  decides: { shape: "●", text: "decides" },
  matched: { shape: "✓", text: "holds" },
  failed: { shape: "✕", text: "fails" },
  counted: { shape: "✓", text: "note" },
  warned: { shape: "△", text: "warning" },
  none: { shape: "·", text: "" },
};

/** `namespace/name`; without a namespace, the name. */
export function qualified(object: { namespace: string; name: string }): string {
  return object.namespace === "" ? object.name : `${object.namespace}/${object.name}`;
}

/** Whether the policy was one to decide; others leave the pod alone, or came too late. */
export function tookPart(policy: PolicyTrace): boolean {
  return policy.outcome !== "not_selected" && policy.outcome !== "other_direction";
}

/** Rules that are nearest to covering it first, if there are too many to show all. */
export function byNearness(rules: RuleTrace[], most: number): RuleTrace[] {
  if (rules.length <= most) return rules;
  const halves = (rule: RuleTrace) => Number(rule.peer_matched) + Number(rule.port_matched);
  return [...rules].sort((left, right) => halves(right) - halves(left) || left.index - right.index);
}

/** The policies that took part, whose texts are worth reading, each once. */
export function namedPolicies(explanation: Explanation): PolicyTrace[] {
  const sides = explanation.answers.flatMap((answer) => [answer.egress, answer.ingress]);
  const all = sides.flatMap((side) => side?.policies.filter(tookPart) ?? []);
  return [...new Map(all.map((policy) => [`${policy.kind} ${qualified(policy)}`, policy])).values()];
}

/** Pods at the other ends, whose labels selectors look at. */
export function endsOf(explanation: Explanation): string[] {
  const sides = explanation.answers.flatMap((answer) => [answer.egress, answer.ingress]);
  const peers = sides.flatMap((side) => (side ? [side.peer] : []));
  // Nodes, Services and addresses are named otherwise.
  return [...new Set(peers)].filter((peer) => /^[^\s/]+\/[^\s/]+$/.test(peer));
}
