// The text of a policy with what each rule decided, and what looks wrong, at its lines.

import { locate, type Step } from "../../parts/explanation/locate";
import { marking, ordinal, steps, typeOf, type Mark, type Marked } from "../../parts/explanation/marks";
import { exact, moment } from "../../state/time";
import type { Policy } from "./review";

export function markedHits(text: string, policy: Policy): Marked {
  const located = locate(text);
  const marks = new Map<number, Mark>();
  const mark = marking(located, marks);
  for (const rule of policy.rules) {
    const at: Step[] = ["spec", rule.direction, rule.rule];
    const said = hitsText(rule);
    mark(
      at,
      said === "" ? "warned" : "counted",
      `${ordinal(rule.rule)} rule: ${said || "never hit in this time"}`,
    );
  }
  const whole = hitsText(policy);
  if (whole !== "") mark(wholeOf(located, policy), "decides", `what no rule covers: ${whole}`);
  for (const lint of policy.lints) {
    const sign = lint.severity === "info" ? "counted" : lint.severity === "error" ? "failed" : "warned";
    mark(steps(lint.field), sign, lint.sentence);
  }
  return { lines: located.lines, marks };
}

/** `216 allowed, last 2026-11-29 04:34:01`; empty if nothing was decided. */
export function hitsText(hits: {
  allow: number;
  deny: number;
  audit: number;
  last_hit: string | null;
}): string {
  const parts = [
    [hits.allow, "allowed"],
    [hits.deny, "denied"],
    [hits.audit, "would be denied"],
  ] as const;
  const said = parts.filter(([count]) => count > 0).map(([count, word]) => `${exact(count)} ${word}`);
  if (said.length === 0) return "";
  return `${said.join(", ")}${hits.last_hit === null ? "" : `, last ${moment(hits.last_hit, false)}`}`;
}

/** Where a policy says that it isolates, whatever the direction. */
function wholeOf(located: ReturnType<typeof locate>, policy: Policy): Step[] {
  const types: Step[] = ["spec", "policyTypes"];
  if (located.find(types)) return types;
  return policy.rules[0] ? typeOf(located, policy.rules[0].direction) : ["spec", "podSelector"];
}
