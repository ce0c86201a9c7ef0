import { expect, it } from "vitest";
import { diffLines } from "./diff";

it("tells lines by the counts of their hunk", () => {
  const text =
    "--- a/p.yaml\n+++ b/p.yaml\n@@ -1,3 +1,4 @@\n a\n--- b\n+++ c\n+d\n e\n--- a/q\n+++ b/q\n@@ -1 +1 @@\n-x\n+y\n";
  expect(diffLines(text).map((line) => line.kind)).toEqual([
    "file",
    "file",
    "place",
    "same",
    "removed",
    "added",
    "added",
    "same",
    "file",
    "file",
    "place",
    "removed",
    "added",
  ]);
});
