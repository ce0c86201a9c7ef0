import { beforeEach, describe, expect, it } from "vitest";
import { location } from "../state/location.svelte";
import { preferences } from "../state/preferences.svelte";
import { commands, matching } from "./commands";

const run = (typed: string) => matching(commands(), typed)[0]!.run!();

describe("the palette", () => {
  beforeEach(() => location.go("/?filter=a=1&selected=x"));

  it("goes to pages and keeps the filter", () => {
    run("map");
    expect([location.path, location.get("filter"), location.get("selected")]).toEqual(["/map", "a=1", ""]);
  });

  it("finds by all words, in any order", () => {
    expect(matching(commands(), "minutes 15").map(({ title }) => title)).toEqual(["Last 15 minutes"]);
    expect(matching(commands(), "no such thing")).toEqual([]);
    expect(matching(commands(), "")).toHaveLength(commands().length);
    // “Status” begins so; “Show …” and “Go to …” only have it somewhere.
    expect(matching(commands(), "st")[0]!.title).toBe("Status");
  });

  it("changes time, verdicts and colours", () => {
    run("last 7 days");
    run("denied only");
    run("dark");
    expect([location.get("since"), location.get("verdicts"), preferences.theme]).toEqual([
      "7d",
      "deny",
      "dark",
    ]);
    run("colours as the system");
  });
});
