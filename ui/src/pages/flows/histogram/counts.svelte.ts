// What the histogram, the verdicts' counts and the reason of an empty page are made of: one answer, of all
// verdicts, so that switching one on or off asks nothing.

import { get, type Schemas } from "../../../api/client";
import { Asked } from "../../../state/asked.svelte";
import { view, type VerdictName } from "../../../state/view.svelte";

export type Histogram = Schemas["Histogram"];

const BUCKETS = 80;
/** How often a range that ends now is asked for again, or more seldom if answers take long. */
const EVERY_MS = 10_000;
const MOST_LOAD = 20;

class Counts {
  readonly asked = new Asked<Histogram>();
  /** Counts up with each time that the range that ends now is asked for again. */
  tick = $state(0);

  get answer(): Histogram | null {
    return this.asked.answer;
  }

  /** Verdicts of a kind; nothing as long as nobody knows. */
  of(verdict: VerdictName): number | undefined {
    if (!this.answer) return undefined;
    return this.answer.series.find(({ key }) => key.verdict === verdict)?.total.count ?? 0;
  }

  ask(): void {
    const { filter, since, until } = view;
    const parameters = { filter, since, until: until || undefined, buckets: BUCKETS, by: "verdict" };
    void this.asked.ask((signal) => get<Histogram>("/api/v1/histogram", parameters, signal));
  }
}

export const counts = new Counts();

/** For the page: asks while it is looked at. */
export function watchCounts(): void {
  $effect(() => {
    void [view.filter, view.since, view.until, view.revision, counts.tick];
    counts.ask();
  });
  $effect(() => () => counts.asked.leave());
  $effect(() => {
    if (view.until !== "" || counts.asked.running) return;
    const wait = Math.max(EVERY_MS, MOST_LOAD * (counts.answer?.elapsed_ms ?? 0));
    const timer = window.setInterval(() => {
      if (document.visibilityState === "visible") counts.tick += 1;
    }, wait);
    return () => window.clearInterval(timer);
  });
}
