import { expect, it } from "vitest";
import { short } from "./words";

it("writes numbers in few characters", () => {
  expect([0, 999, 1_000, 1_234, 99_960, 999_499, 999_500, 12_345_678, 1e12].map(short)).toEqual([
    ...["0", "999", "1k", "1.2k", "100k", "999k", "1M", "12.3M", "1000G"],
  ]);
});
