import { expect, it } from "vitest";
import type { Schemas } from "../../api/client";
import { nodesOf, type Collector } from "./nodes";

const NOW = 1_795_926_845_000;
const collector = (
  name: string,
  ago: number,
  over: Partial<NonNullable<Collector["status"]>> = {},
): Collector => ({
  collector: name,
  last_seen_ns: (NOW - ago) * 1e6,
  status: {
    cluster: "demo",
    node: name,
    policy_revision: 3,
    behind_ms: null,
    policies: 4,
    modes: { audit: false, audited_namespaces: 0, audited_policies: 0, startup: "open", established: "keep" },
    self_test: { passed: true, message: "" },
    enforced_pods: 6,
    unenforced_count: 0,
    unenforced_pods: [],
    problem_count: 0,
    problems: [],
    ...over,
  },
});

it("says what is wrong, the worst first, each collector once", () => {
  const status = {
    relay: {
      status: { collectors: [collector("b", 1_000), collector("a", 60_000), collector("c", 90_000)] },
    },
    other_relays: [
      { status: { collectors: [collector("a", 40_000, { behind_ms: 9_000, unenforced_count: 2 })] } },
      { address: "x", reachable: false },
      { status: { collectors: [collector("d", 0, { behind_ms: 4_000 })] } },
    ],
  } as unknown as Schemas["Status"];
  expect(nodesOf(status, NOW).map(({ name, wrong }) => [name, wrong.join("; ")])).toEqual([
    ["a", "silent for 40 s; 2 pods are not enforced; policies in force are 9 s older than the cluster's"],
    ["c", "silent for 90 s"],
    ["b", ""],
    ["d", ""],
  ]);
});
