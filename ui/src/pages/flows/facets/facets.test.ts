import { describe, expect, it } from "vitest";
import { askings } from "./facets.svelte";

describe("calls for facets", () => {
  it("are one, as long as the filter speaks of none of the fields", () => {
    expect(askings('x="1"', ["reason", "policy"], [])).toEqual([
      { filter: 'x="1"', fields: ["reason", "policy"], limit: 6 },
    ]);
  });

  it("count a field as if the filter did not speak of it", () => {
    expect(askings('reason="a" x=1 NOT reason="b"', ["reason", "policy"], ["policy"])).toEqual([
      { filter: "x=1", fields: ["reason"], limit: 6 },
      { filter: 'reason="a" x=1 NOT reason="b"', fields: ["policy"], limit: 200 },
    ]);
    expect(askings('source_labels."app"="a"', ["source_labels.app"], [])[0]!.filter).toBe("");
    expect(askings('reason="a', ["reason"], [])[0]!.filter).toBe('reason="a');
  });
});
