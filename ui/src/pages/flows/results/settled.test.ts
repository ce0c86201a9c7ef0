import { describe, expect, it } from "vitest";
import type { Group } from "../flow";
import { settled, sortOf, sorted } from "./settled";

const group = (source_workload: string, count: number, last_seen = "") =>
  ({ source_workload, count, last_seen }) as unknown as Group;
const text = (groups: readonly Group[]) =>
  groups.map(({ source_workload, count }) => `${source_workload}${count}`).join(" ");

describe("groups that are looked at", () => {
  it("stay where they are, with new numbers", () => {
    const shown = [group("a", 5), group("b", 3), group("c", 1)];
    const { groups, waiting } = settled(shown, [group("b", 9), group("d", 7), group("a", 6)]);
    expect(text(groups)).toBe("a6 b9 c1");
    expect(waiting).toBe(1);
  });

  it("have the order that the address names", () => {
    expect(sortOf("")).toEqual({ by: "count", descending: true, known: true });
    expect(sortOf("last_seen:asc")).toEqual({ by: "last_seen", descending: false, known: true });
    expect(sortOf("colour").known).toBe(false);
    expect(sortOf("count:up").known).toBe(false);
  });

  it("are sorted, equal ones as they came", () => {
    const groups = [group("a", 1, "2"), group("b", 1, "3"), group("c", 5, "1")];
    expect(text(sorted(groups, "count", true))).toBe("c5 a1 b1");
    expect(text(sorted(groups, "last_seen", true))).toBe("b1 a1 c5");
    expect(text(sorted(groups, "last_seen", false))).toBe("c5 a1 b1");
  });
});
