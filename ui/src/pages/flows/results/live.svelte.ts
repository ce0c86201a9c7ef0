// What comes while somebody looks. New rows are handed on a few times a second; while somebody reads, they wait,
// and only their number is shown. Memory is bounded: beyond `MOST_WAITING` the oldest of those that wait are let go.

import type { Flow } from "../flow";
import { Pace, paceText } from "./pace";
import { follow } from "./tail";

export const SHOWN_PER_SECOND = 200;
export const MOST_WAITING = 2_000;
/** How often rows are handed on. */
const TICK_MS = 200;
/** Screen readers are told no more often. */
const SAY_EVERY_MS = 5_000;

export class Live {
  /** Whether somebody stopped it for a while. */
  paused = $state(false);
  /** `joining`, `joined`, or why it is not. */
  joined = $state(false);
  trouble = $state("");
  /** Whether no further attempt is made. */
  ended = $state(false);
  /** Rows that wait, whether they are kept or not. */
  waiting = $state(0);
  /** Rows that were counted and will not be shown. */
  skipped = $state(0);
  /** Batches and rows that never came here. */
  missed = $state.raw({ batches: 0, rows: 0 });
  /** What the service says of the filter or of itself. */
  told = $state("");
  rate = $state("");
  /** For screen readers, now and then. */
  said = $state("");
  /** Counts up with every row, shown or not. */
  counted = $state(0);
  #kept: Flow[] = [];
  #new = 0;
  #unsaid = 0;
  #saidAt = 0;

  /** Follows what passes the filter, until the returned function is called.
   * @param show Takes rows, latest first; null where rows are only counted.
   * @param held Whether rows have to wait now. */
  run(filter: string, show: ((rows: Flow[]) => void) | null, held: () => boolean): () => void {
    this.#reset();
    const pace = new Pace(SHOWN_PER_SECOND, Date.now());
    const end = follow(filter, {
      row: (json) => {
        this.#new += 1;
        if (pace.take(Date.now()) && show) this.#keep(JSON.parse(json) as Flow);
        else if (show) this.skipped += 1;
      },
      missed: (batches, rows) => {
        this.missed = { batches: this.missed.batches + batches, rows: this.missed.rows + (rows ?? 0) };
      },
      told: (message) => (this.told = message),
      joined: () => {
        this.joined = true;
        this.trouble = "";
      },
      left: (why, again) => {
        this.joined = false;
        this.ended = again === null;
        this.trouble = why;
      },
    });
    const timer = window.setInterval(() => this.#tick(pace, show, held()), TICK_MS);
    return () => {
      window.clearInterval(timer);
      end();
      this.joined = false;
      this.#kept = [];
      this.waiting = 0;
    };
  }

  /** Hands on what waits, whoever reads. */
  release(show: ((rows: Flow[]) => void) | null): void {
    const rows = this.#kept;
    this.#kept = [];
    this.waiting = 0;
    if (rows.length > 0) show?.(rows.reverse());
  }

  #keep(flow: Flow): void {
    this.#kept.push(flow);
    // In large steps: to take away the first of many is slow.
    if (this.#kept.length < 2 * MOST_WAITING) return;
    this.skipped += this.#kept.length - MOST_WAITING;
    this.#kept = this.#kept.slice(-MOST_WAITING);
  }

  #tick(pace: Pace, show: ((rows: Flow[]) => void) | null, held: boolean): void {
    const now = Date.now();
    pace.read(now);
    this.rate = paceText(pace.rate, show ? pace.shown : pace.rate);
    this.counted += this.#new;
    this.#unsaid += this.#new;
    this.waiting += this.#new;
    this.#new = 0;
    if (!held && !this.paused) this.release(show);
    if (this.#unsaid === 0 || now - this.#saidAt < SAY_EVERY_MS) return;
    this.said = `${this.#unsaid.toLocaleString("en-US")} new ${this.#unsaid === 1 ? "flow" : "flows"}`;
    this.#unsaid = 0;
    this.#saidAt = now;
  }

  #reset(): void {
    this.joined = false;
    this.trouble = "";
    this.ended = false;
    this.waiting = 0;
    this.skipped = 0;
    this.missed = { batches: 0, rows: 0 };
    this.told = "";
    this.rate = "";
    this.said = "";
    this.#kept = [];
    this.#new = 0;
    this.#unsaid = 0;
  }
}
