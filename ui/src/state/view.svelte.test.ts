import { flushSync } from "svelte";
import { expect, it } from "vitest";
import { location } from "./location.svelte";
import { view } from "./view.svelte";

it("tells of changes of its own part of the address alone", () => {
  const seen: string[] = [];
  const stop = $effect.root(() => {
    $effect(() => void seen.push(JSON.stringify(view.parameters)));
  });
  flushSync();
  location.set({ selected: "some flow" });
  flushSync();
  expect(seen).toHaveLength(1);
  location.set({ filter: "a=1", verdicts: "allow,gone" });
  flushSync();
  expect(seen).toHaveLength(2);
  expect(JSON.parse(seen[1]!)).toEqual({ filter: 'a=1 verdict="allow"', since: "1h" });
  expect(view.unknown).toEqual(["verdicts=gone"]);
  stop();
});
