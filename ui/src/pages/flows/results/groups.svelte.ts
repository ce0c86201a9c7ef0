// Groups: asked for at every change of the question, and every second while somebody follows what comes.

import { get, type Parameters, type Schemas } from "../../../api/client";
import { Asked } from "../../../state/asked.svelte";
import type { Group } from "../flow";
import { settled, sorted, type GroupSort } from "./settled";

type Answer = Schemas["Groups"];

/** So many at first, and the most that anybody scrolls through. */
const FIRST_LIMIT = 200;
const LAST_LIMIT = 500;
const BUCKETS = 24;
/** While nothing comes, the time goes on nevertheless. */
const QUIET_MS = 10_000;
const EVERY_MS = 1_000;
const LOOK_MS = 200;

export class GroupList {
  shown = $state.raw<Group[]>([]);
  /** Groups that came while somebody looked. */
  waiting = $state(0);
  readonly asked = new Asked<Answer>();
  /** Whether it asks again by itself, which no one needs to see. */
  renewing = $state(false);
  #sort: { by: GroupSort; descending: boolean } = { by: "count", descending: true };
  #limit = FIRST_LIMIT;
  #parameters: Parameters = {};

  /** Another order, for which the service is asked only if it has more groups than are here. */
  order(sort: { by: GroupSort; descending: boolean }): void {
    if (sort.by === this.#sort.by && sort.descending === this.#sort.descending) return;
    this.#sort = sort;
    if (this.asked.running || this.truncated) void this.load(this.#parameters);
    else this.release();
  }

  async load(parameters: Parameters): Promise<void> {
    this.#limit = FIRST_LIMIT;
    this.#parameters = parameters;
    this.renewing = false;
    if (await this.#ask()) this.release();
  }

  /** The rest of those that the service tells. */
  async loadMore(): Promise<void> {
    if (this.asked.running || !this.asked.answer?.truncated || this.#limit === LAST_LIMIT) return;
    this.#limit = LAST_LIMIT;
    if (await this.#ask()) this.release();
  }

  /** Whether there are more groups than the service tells. */
  get truncated(): boolean {
    return this.asked.answer?.truncated ?? false;
  }

  /** Asks again when something came, until the returned function is called.
   * @param counted Goes up with what comes.
   * @param held Whether groups have to stay where they are. */
  follow(counted: () => number, held: () => boolean, paused: () => boolean): () => void {
    let seen = counted();
    let next = 0;
    let quiet = Date.now() + QUIET_MS;
    const timer = window.setInterval(() => {
      const now = Date.now();
      if (paused() || document.hidden || this.asked.running || now < next) return;
      if (!held() && this.waiting > 0) this.release();
      if (counted() === seen && now < quiet) return;
      seen = counted();
      void this.#renew(held).then(() => {
        const took = this.asked.answer?.elapsed_ms ?? 0;
        next = Date.now() + Math.max(EVERY_MS - LOOK_MS, 2 * took);
        quiet = Date.now() + QUIET_MS;
      });
    }, LOOK_MS);
    return () => window.clearInterval(timer);
  }

  /** Shows the latest answer, in its order. */
  release(): void {
    const groups = this.asked.answer?.groups ?? [];
    this.shown = sorted(groups, this.#sort.by, this.#sort.descending);
    this.waiting = 0;
  }

  async #renew(held: () => boolean): Promise<void> {
    this.renewing = true;
    const answered = await this.#ask();
    this.renewing = false;
    if (!answered) return;
    if (!held()) return this.release();
    const { groups, waiting } = settled(this.shown, this.asked.answer?.groups ?? []);
    this.shown = groups;
    this.waiting = waiting;
  }

  async #ask(): Promise<boolean> {
    let mine: Answer | null = null;
    await this.asked.ask(async (signal) => {
      const order = this.#sort.descending ? this.#sort.by : `${this.#sort.by}:asc`;
      const parameters = { ...this.#parameters, order, limit: this.#limit, buckets: BUCKETS };
      mine = await get<Answer>("/api/v1/groups", parameters, signal);
      return mine;
    });
    return mine !== null && this.asked.answer === mine;
  }
}
