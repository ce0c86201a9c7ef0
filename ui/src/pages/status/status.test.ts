import { describe, expect, it } from "vitest";
import type { Schemas } from "../../api/client";
import { intervalText, nodesOf, type CollectorStatus } from "./nodes";
import { aDay, covered } from "./volume";

const NOW = 1_000_000;

function statusOf(
  ...collectors: [name: string, agoMs: number, status: CollectorStatus | null][][]
): Schemas["Status"] {
  const relays = collectors.map((seen, index) => ({
    address: `relay-${index}`,
    reachable: true,
    status: {
      collectors: seen.map(([collector, agoMs, status]) => ({
        collector,
        last_seen_ns: (NOW - agoMs) * 1e6,
        status,
      })),
    },
  }));
  return { relay: relays[0] ?? null, other_relays: relays.slice(1) } as unknown as Schemas["Status"];
}

const good: CollectorStatus = { cluster: "lab", node: "n1", enforced_pods: 3 };
const states = (status: Schemas["Status"], known: Parameters<typeof nodesOf>[1] = []) =>
  nodesOf(status, known, NOW).map(({ id, state }) => [id, state]);

describe("nodes", () => {
  it("are what the relay says that heard of them last", () => {
    const status = statusOf([["lab/n1", 90_000, good]], [["lab/n1", 1_000, good]]);
    expect(states(status)).toEqual([["lab/n1", "enforced"]]);
    expect(states(statusOf([["lab/n1", 31_000, good]]))).toEqual([["lab/n1", "silent"]]);
    expect(states(statusOf([["lab/n1", 0, null]]))).toEqual([["lab/n1", "silent"]]);
  });

  it("that need somebody come first, and those without a collector are there", () => {
    const status = statusOf([
      ["lab/n1", 0, good],
      ["lab/n2", 0, { ...good, node: "n2", unenforced_pods: ["x/y: no veth"] }],
      ["lab/n3", 0, { ...good, node: "n3", modes: { audit: true } }],
      ["lab/n4", 60_000, { ...good, node: "n4" }],
    ]);
    const known = ["n1", "n5"].map((name) => ({ cluster: "lab", name, addresses: ["10.0.0.1"] }));
    expect(states(status, known)).toEqual([
      ["lab/n2", "wrong"],
      ["lab/n4", "silent"],
      ["lab/n5", "none"],
      ["lab/n3", "audit"],
      ["lab/n1", "enforced"],
    ]);
    expect(nodesOf(status, known, NOW).at(-1)!.addresses).toEqual(["10.0.0.1"]);
  });

  it("say why they are wrong", () => {
    const why = (more: CollectorStatus) =>
      nodesOf(statusOf([["lab/n1", 0, { ...good, ...more }]]), [], NOW)[0]!.why;
    expect(why({ unenforced_count: 7, unenforced_pods: ["a/b"] })).toEqual(["7 pods are not enforced"]);
    expect(why({ behind_ms: 4_000 })).toEqual([]);
    expect(why({ behind_ms: 6_000 })).toHaveLength(1);
    expect(why({ self_test: { passed: false, message: "it passed", time_ns: 1 } })[0]).toContain("it passed");
    expect(why({ problems: ["one"] })).toEqual(["1 problem"]);
  });

  it("write intervals as the service does", () => {
    expect([5_000, 60_000, 900_000, 1_500].map(intervalText)).toEqual(["5s", "1m", "15m", "1500ms"]);
  });
});

describe("bytes a day", () => {
  it("are of the time that flows are of", () => {
    const [from, until] = ["2026-11-28T14:00:00Z", "2026-11-28T15:00:00Z"];
    expect(covered(from, until, "2026-11-28T13:00:00Z")).toBe(3_600);
    expect(covered(from, until, "2026-11-28T14:45:00Z")).toBe(900);
    expect(covered(from, until, null)).toBe(3_600);
    expect(covered(from, until, "2026-11-28T15:00:00Z")).toBe(1);
    expect(aDay(10, 3_600)).toBe(240);
  });
});
