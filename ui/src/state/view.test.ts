import { beforeEach, describe, expect, it } from "vitest";
import { location } from "./location.svelte";
import { view } from "./view.svelte";

describe("what is looked at", () => {
  beforeEach(() => location.go("/"));

  it("is what was denied in the last hour, unless the address says more", () => {
    expect(view.parameters).toEqual({ filter: 'verdict=("deny" OR "audit")', since: "1h", until: undefined });
    location.go('/?filter=a="1"+OR+b&verdicts=allow&since=1d');
    expect(view.parameters.filter).toBe('(a="1" OR b) verdict="allow"');
    view.setVerdicts(["deny", "audit", "allow"]);
    expect(view.query).toBe('a="1" OR b');
  });

  it("does not change verdicts that nobody knows without a word", () => {
    location.go("/?verdicts=deny,dney");
    expect([view.verdicts, view.unknown]).toEqual([["deny"], ["verdicts=dney"]]);
    location.go("/?verdicts=dney");
    expect([view.verdicts, view.unknown]).toEqual([["deny", "audit"], ["verdicts=dney"]]);
  });
});
