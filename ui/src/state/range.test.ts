import { beforeEach, describe, expect, it } from "vitest";
import { preferences } from "./preferences.svelte";
import { bounds, label, milliseconds, shifted, typed, widened } from "./range";

const now = Date.parse("2026-11-29T12:00:00Z");

describe("ranges of time", () => {
  beforeEach(() => preferences.setUtc(true));

  it("are relative or absolute", () => {
    expect([milliseconds("15m"), milliseconds("7d"), milliseconds("1x")]).toEqual([
      900_000,
      604_800_000,
      undefined,
    ]);
    expect(bounds({ since: "1h", until: "" }, now)).toEqual({ from: now - 3_600_000, to: now });
    expect(bounds({ since: "nonsense", until: "" }, now)).toBeUndefined();
    expect(bounds({ since: "1h", until: "2026-11-29T10:00:00Z" }, now)).toBeUndefined();
  });

  it("have names", () => {
    expect(label({ since: "1h", until: "" })).toBe("Last 1 hour");
    expect(label({ since: "15m", until: "" })).toBe("Last 15 minutes");
    expect(label({ since: "2026-11-29T10:00:00Z", until: "2026-11-29T11:00:00.500Z" })).toBe(
      "2026-11-29 10:00:00Z to 2026-11-29 11:00:00.500Z",
    );
    expect(label({ since: "nonsense", until: "" })).toBe("Since nonsense");
  });

  it("move by their length, and not into the future", () => {
    const before = shifted({ since: "1h", until: "" }, -1, now)!;
    expect(before).toEqual({ since: "2026-11-29T10:00:00.000Z", until: "2026-11-29T11:00:00.000Z" });
    expect(shifted(before, 1, now)).toEqual({
      since: "2026-11-29T11:00:00.000Z",
      until: "2026-11-29T12:00:00.000Z",
    });
    expect(shifted({ since: "1h", until: "" }, 1, now)).toBeUndefined();
    expect(widened(before, now)).toEqual({
      since: "2026-11-29T09:30:00.000Z",
      until: "2026-11-29T11:30:00.000Z",
    });
  });

  it("are read as people type them", () => {
    const read = (text: string, utc = true) => typed(text, utc, now);
    expect(read("now")).toBe("");
    expect([read("90m"), read("2 h"), read("15m ago")]).toEqual(["90m", "2h", "15m"]);
    expect(read("2026-11-29 10:00")).toBe("2026-11-29T10:00:00.000Z");
    expect(read("2026-11-29")).toBe("2026-11-29T00:00:00.000Z");
    expect(read("9:05")).toBe("2026-11-29T09:05:00.000Z");
    expect(read("2026-11-29 10:00:00.5Z", false)).toBe("2026-11-29T10:00:00.500Z");
    expect(read("2026-11-29T10:00+02:00")).toBe("2026-11-29T08:00:00.000Z");
    expect([read("tomorrow"), read("2026-13-40"), read("25:99")]).toEqual([undefined, undefined, undefined]);
  });
});
