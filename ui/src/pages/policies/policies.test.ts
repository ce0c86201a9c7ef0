import { describe, expect, it } from "vitest";
import { markedHits } from "./hits";
import { chosen, hitsOf, keyOf, type Policy, type Row } from "./review";

const policy = (name: string, over: Partial<Policy> = {}): Policy => ({
  kind: "NetworkPolicy",
  namespace: "shop",
  name,
  valid_from: null,
  only_reports: false,
  audit: 0,
  allow: 0,
  deny: 0,
  last_hit: null,
  selects: { count: 1, pods: [] },
  rules: [],
  never_hit: 0,
  lints: [],
  ...over,
});
const lint = (severity: "error" | "warning" | "info", id = "x", field = "spec.egress") => ({
  id,
  severity,
  field,
  kind: "NetworkPolicy",
  namespace: "shop",
  name: "a",
  sentence: `${id} is wrong`,
  fix: "",
});
const rule = (direction: "ingress" | "egress", rule: number, allow: number) => ({
  direction,
  rule,
  allow,
  deny: 0,
  audit: 0,
  last_hit: allow > 0 ? "2026-11-29T04:34:01Z" : null,
});

describe("the table", () => {
  const rows: Row[] = [
    policy("b", { deny: 3, lints: [lint("warning")] }),
    policy("a", { never_hit: 1, rules: [rule("ingress", 0, 0)], only_reports: true }),
    policy("c", { deny: 5, selects: { count: 0, pods: [] }, lints: [lint("error")] }),
  ].map((policy) => ({ cluster: "x", at: "", policy }));
  const names = (...args: [string, string, string]) =>
    chosen(rows, ...args)
      .map(({ policy }) => policy.name)
      .join("");

  it("sorts and chooses", () => {
    expect(names("", "", "name")).toBe("abc");
    expect(names("", "", "deny")).toBe("cba");
    expect(names("", "", "lints")).toBe("cba");
    expect(names("never", "", "name")).toBe("a");
    expect(names("lints", "", "name")).toBe("bc");
    expect(names("nothing", "", "name")).toBe("c");
    expect(names("audit", "", "name")).toBe("a");
    expect(names("", "SHOP/B", "name")).toBe("b");
    expect(names("unheard of", "", "unheard of")).toBe("abc");
  });

  it("adds up what rules and the whole decided", () => {
    const hits = hitsOf(
      policy("a", { deny: 2, last_hit: "2026-11-29T04:00:00Z", rules: [rule("egress", 0, 7)] }),
    );
    expect(hits).toEqual({ allow: 7, deny: 2, audit: 0, last: "2026-11-29T04:34:01Z" });
  });

  it("names a policy in the address", () => {
    expect(keyOf({ cluster: "a*b", policy: policy("x/y") })).toBe("p*a%2Ab*NetworkPolicy*shop*x%2Fy");
  });
});

it("writes hits and lints beside their lines", () => {
  const text = `spec:
  policyTypes: [Ingress, Egress]
  ingress:
    - from: []
    - from: [{}]
  egress:
    - to: []
`;
  const { lines, marks } = markedHits(
    text,
    policy("a", {
      deny: 9,
      rules: [rule("ingress", 0, 5), rule("ingress", 1, 0), rule("egress", 0, 1)],
      lints: [lint("warning", "dns"), lint("error", "shadowed", "spec.ingress[0].from[3]")],
    }),
  );
  const said = [...marks].map(([line, { sign, notes }]) => [lines[line]!.trim(), sign, notes.join("; ")]);
  expect(said).toEqual([
    ["- from: []", "failed", expect.stringMatching(/^1st rule: 5 allowed, last 2026-.*; shadowed is wrong$/)],
    ["- from: [{}]", "warned", "2nd rule: never hit in this time"],
    ["- to: []", "counted", expect.stringMatching(/^1st rule: 1 allowed/)],
    ["policyTypes: [Ingress, Egress]", "decides", "what no rule covers: 9 denied"],
    ["egress:", "warned", "dns is wrong"],
  ]);
});
