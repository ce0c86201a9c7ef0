import { describe, expect, it } from "vitest";
import type { Flow } from "../flow";
import { Sharing, appended, prepended, untilOf } from "./rows";

const flow = (nanosecond: number, connection_id = String(nanosecond)) =>
  ({ time: `2026-11-28T12:00:00.${String(nanosecond).padStart(9, "0")}Z`, connection_id, node: "n" }) as Flow;
const ids = (rows: Flow[]) => rows.map((row) => row.connection_id).join(" ");

describe("a list of rows", () => {
  it("goes on behind its last moment without a gap or a row twice", () => {
    const rows = [flow(9), flow(5, "a"), flow(5, "b")];
    expect(untilOf(rows)).toBe("2026-11-28T12:00:00.000000006Z");
    expect(ids(appended(rows, [flow(5, "a"), flow(5, "b"), flow(5, "c"), flow(1)]))).toBe("9 a b c 1");
    expect(untilOf([])).toBeUndefined();
    expect(ids(appended([], [flow(2), flow(1)]))).toBe("2 1");
  });

  it("takes what is new in order of time, once", () => {
    const rows = [flow(8), flow(5), flow(3)];
    expect(ids(prepended(rows, [flow(9), flow(10)], 10))).toBe("10 9 8 5 3");
    expect(ids(prepended(rows, [flow(6), flow(8), flow(9)], 10))).toBe("9 8 6 5 3");
    expect(ids(prepended(rows, [flow(9)], 3))).toBe("9 8 5");
    expect(ids(prepended(rows, [], 10))).toBe("8 5 3");
  });

  it("keeps shared texts once", () => {
    const sharing = new Sharing();
    const one = sharing.share({ source_labels: { app: "web" } } as unknown as Flow);
    const two = sharing.share({ source_labels: { app: "web" } } as unknown as Flow);
    expect(two.source_labels).toBe(one.source_labels);
  });
});
