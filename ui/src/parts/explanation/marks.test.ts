import { describe, expect, it } from "vitest";
import type { Clause, PolicyTrace, RuleTrace } from "../../api/explanation";
import { marked, ordinal, steps } from "./marks";

const clause = (field: string, matched: boolean, text = ""): Clause => ({ field, matched, text });
const rule = (index: number, peers: Clause[][], ports: Clause[][]): RuleTrace => {
  const holds = (list: Clause[][]) =>
    list.length === 0 || list.some((all) => all.every((one) => one.matched));
  const entry = (clauses: Clause[], index: number) => ({
    index,
    clauses,
    matched: clauses.every((one) => one.matched),
  });
  return {
    index,
    name: null,
    action: "Allow",
    peer_matched: holds(peers),
    port_matched: holds(ports),
    matched: holds(peers) && holds(ports),
    peers: peers.map(entry),
    ports: ports.map(entry),
  };
};
const policy = (over: Partial<PolicyTrace>): PolicyTrace => ({
  kind: "NetworkPolicy",
  namespace: "shop",
  name: "db",
  tier: "network_policy",
  audit: false,
  outcome: "isolates",
  subject: [],
  rules: [],
  ...over,
});
/** `line: sign` of each mark. */
const told = (text: string, trace: PolicyTrace, direction: "ingress" | "egress" = "ingress") => {
  const { lines, marks } = marked(text, trace, direction);
  return [...marks].sort(([a], [b]) => a - b).map(([line, mark]) => `${lines[line]!.trim()} ${mark.sign}`);
};

const TEXT = `kind: NetworkPolicy
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: db
  policyTypes:
    - Egress
    - Ingress
  ingress:
    - from:
        - podSelector:
            matchLabels: {app: web}
      ports:
        - port: 5432
    - ports:
        - port: 80
`;

describe("lines that decide", () => {
  const web = [
    clause("namespaceSelector", true, "in shop"),
    clause("podSelector.matchLabels.app", false, "app=api"),
  ];
  const port = (matched: boolean) => [clause("protocol", true), clause("port", matched, "wants another")];

  it("shows why nothing allowed it, and what came near", () => {
    const trace = policy({
      subject: [clause("podSelector.matchLabels.app.kubernetes.io/name", true)],
      rules: [rule(0, [web], [port(true)]), rule(1, [], [port(false)])],
    });
    expect(told(TEXT, trace)).toEqual([
      "app.kubernetes.io/name: db matched",
      "- Ingress decides",
      "- podSelector: matched",
      "matchLabels: {app: web} failed",
      "- port: 5432 matched",
      "- ports: matched",
      "- port: 80 failed",
    ]);
    expect(marked(TEXT, trace, "ingress").marks.get(11)).toEqual({ sign: "failed", notes: ["app=api"] });
  });

  it("marks the rule that allowed it", () => {
    const trace = policy({ outcome: "allows", rules: [rule(0, [web], []), rule(1, [], [port(true)])] });
    expect(told(TEXT, trace)).toContain("- ports: decides");
  });

  it("stands by the rules where policyTypes is left out", () => {
    const text = "spec:\n  podSelector: {}\n  ingress: []\n";
    expect(told(text, policy({ subject: [clause("podSelector", true)] }))).toEqual([
      "podSelector: {} matched",
      "ingress: [] decides",
    ]);
  });
});

it("marks tiers, whose entries may count several times", () => {
  const text = `kind: AdminNetworkPolicy
spec:
  subject:
    namespaces: {matchLabels: {env: prod}}
  egress:
    - action: Deny
      to:
        - networks: [10.0.0.0/8, 10.1.0.0/16]
`;
  const deny = {
    ...rule(0, [[clause("networks", false)], [clause("networks", true)]], []),
    action: "Deny" as const,
  };
  const trace = policy({
    tier: "admin",
    outcome: "denies",
    subject: [clause("namespaceSelector.matchLabels.env", true)],
    rules: [deny],
  });
  expect(told(text, trace, "egress")).toEqual([
    "namespaces: {matchLabels: {env: prod}} matched",
    "- action: Deny decides",
    "to: failed",
  ]);
});

it("keeps a label's key in one piece", () => {
  expect(steps("podSelector.matchLabels.a.b/c[0]")).toEqual(["podSelector", "matchLabels", "a.b/c[0]"]);
  expect(steps("podSelector.matchExpressions[1]")).toEqual(["podSelector", "matchExpressions", 1]);
  expect(steps("matchLabels.x")).toEqual(["matchLabels", "x"]);
});

it("counts as people do", () => {
  expect([0, 1, 2, 3, 10, 11, 12, 20, 110].map(ordinal)).toEqual([
    "1st",
    "2nd",
    "3rd",
    "4th",
    "11th",
    "12th",
    "13th",
    "21st",
    "111th",
  ]);
});
