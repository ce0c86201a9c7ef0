// The result of a statement, page by page.

import { post, type Schemas } from "../../api/client";
import { Asked } from "../../state/asked.svelte";
import type { ResultColumn, Values } from "./values";

type Rows = Schemas["Rows"];

export interface ResultRow {
  /** From 0 on. */
  index: number;
  values: Values;
}

const PAGE_ROWS = 1_000;
/** More than this is no reading any more; downloads have it. */
export const MOST_ROWS = 50_000;

export class Result {
  readonly first = new Asked<Rows>();
  readonly next = new Asked<Rows>();
  /** What the rows are of. */
  statement = $state("");
  columns = $state.raw<ResultColumn[]>([]);
  rows = $state.raw<ResultRow[]>([]);
  #token = $state("");

  /** Whether there are more rows to fetch. */
  get hasMore(): boolean {
    return this.#token !== "" && this.rows.length < MOST_ROWS;
  }

  /** Why there are more rows and none of them can be fetched. */
  get cutOff(): boolean {
    return this.rows.length >= MOST_ROWS || (this.#token === "" && this.first.answer?.truncated === true);
  }

  async run(sql: string): Promise<void> {
    this.next.leave();
    this.next.problem = null;
    this.statement = sql;
    this.#token = "";
    await this.first.ask(async (signal) => {
      const body = { sql, page_size: PAGE_ROWS };
      const answer = await post<Rows>("/api/v1/sql", body, signal);
      this.columns = answer.columns;
      this.rows = [];
      this.#take(answer);
      return answer;
    });
  }

  async more(): Promise<void> {
    if (!this.hasMore || this.next.running || this.first.running || this.next.problem) return;
    const token = this.#token;
    await this.next.ask(async (signal) => {
      const answer = await post<Rows>("/api/v1/sql", { page_token: token, page_size: PAGE_ROWS }, signal);
      if (token === this.#token) this.#take(answer);
      return answer;
    });
  }

  retryMore(): void {
    this.next.problem = null;
    void this.more();
  }

  leave(): void {
    this.first.leave();
    this.next.leave();
  }

  #take(answer: Rows): void {
    const begin = this.rows.length;
    const rows = answer.rows as Values[];
    this.rows = [...this.rows, ...rows.map((values, index) => ({ index: begin + index, values }))];
    this.#token = answer.next_page_token ?? "";
  }
}
