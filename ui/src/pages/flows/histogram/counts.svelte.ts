// What the histogram, the verdicts' counts and the reason of an empty page are made of: one answer, of all
// verdicts, so that switching one on or off asks nothing.

import { get, type Schemas } from "../../../api/client";
import { Asked } from "../../../state/asked.svelte";
import { bounds, type Bounds } from "../../../state/range";
import { view, type VerdictName } from "../../../state/view.svelte";

export type Histogram = Schemas["Histogram"];

const MOST_BUCKETS = 80;
const MINUTE_MS = 60_000;
const FEWEST_MINUTES = 20;
/** How often a range that ends now is asked for again, or more seldom if answers take long. */
const EVERY_MS = 10_000;
const MOST_LOAD = 20;

class Counts {
  readonly asked = new Asked<Histogram>();
  /** Counts up with each time that the range that ends now is asked for again. */
  tick = $state(0);

  /** What `answer` is about. */
  #answered = $state("");

  get answer(): Histogram | null {
    return this.asked.answer;
  }

  /** Whether `answer` is about something else than what is asked now. */
  get isStale(): boolean {
    return this.answer !== null && this.#answered !== question();
  }

  /** Verdicts of a kind; nothing as long as nobody knows. */
  of(verdict: VerdictName): number | undefined {
    if (!this.answer) return undefined;
    return this.answer.series.find(({ key }) => key.verdict === verdict)?.total.count ?? 0;
  }

  ask(): void {
    const { filter, since, until } = view;
    const buckets = bucketsOf(bounds({ since, until }, Date.now()));
    const parameters = { filter, since, until: until || undefined, buckets, by: "verdict" };
    const asked = question();
    void this.asked.ask(async (signal) => {
      const answer = await get<Histogram>("/api/v1/histogram", parameters, signal);
      if (!signal.aborted) this.#answered = asked;
      return answer;
    });
  }
}

function question(): string {
  return JSON.stringify([view.filter, view.since, view.until]);
}

/** Whole minutes, as soon as there are enough of them: these the service has sums of. */
export function bucketsOf(asked: Bounds | undefined): number {
  const minutes = asked ? Math.floor((asked.to - asked.from) / MINUTE_MS) : 0;
  return minutes < FEWEST_MINUTES ? MOST_BUCKETS : Math.min(minutes, MOST_BUCKETS);
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
