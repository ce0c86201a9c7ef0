import { describe, expect, it, vi } from "vitest";
import { Asked } from "./asked.svelte";

describe("a question", () => {
  it("shows the newest answer, whichever comes last", async () => {
    const asked = new Asked<string>();
    let first: (answer: string) => void = () => {};
    let aborted = false;
    void asked.ask((signal) => {
      signal.addEventListener("abort", () => (aborted = true));
      return new Promise((resolve) => (first = resolve));
    });
    await asked.ask(async () => "second");
    expect(aborted).toBe(true);
    first("first");
    await Promise.resolve();
    expect(asked.answer).toBe("second");
    expect(asked.running).toBe(false);
  });

  it("keeps the answer when the next question fails or is cancelled", async () => {
    const asked = new Asked<string>();
    await asked.ask(async () => "good");
    await asked.ask(async () => Promise.reject(new Error("no")));
    expect([asked.answer, String(asked.problem)]).toEqual(["good", "Error: no"]);
    void asked.ask(() => new Promise(() => {}));
    asked.cancel();
    expect([asked.answer, asked.running]).toEqual(["good", false]);
  });

  it("says when it is slow", () => {
    vi.useFakeTimers();
    const asked = new Asked<string>();
    void asked.ask(() => new Promise(() => {}));
    vi.advanceTimersByTime(999);
    expect(asked.slow).toBe(false);
    vi.advanceTimersByTime(1);
    expect(asked.slow).toBe(true);
    asked.leave();
    expect(asked.slow).toBe(false);
    vi.useRealTimers();
  });
});
