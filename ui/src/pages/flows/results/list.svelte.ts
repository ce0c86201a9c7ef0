// The rows of the list: the latest page first, older ones when somebody comes to the end, new ones as they come.

import { ApiError, get, type Parameters, type Schemas } from "../../../api/client";
import { Asked } from "../../../state/asked.svelte";
import type { Flow } from "../flow";
import { Sharing, appended, prepended, untilOf } from "./rows";

type Page = Omit<Schemas["Rows"], "rows"> & { rows: Flow[] };

/** The first page is small, to be there at once; whoever goes on gets larger and larger ones. */
const FIRST_PAGE = 200;
const SECOND_PAGE = 1_000;
const LARGEST_PAGE = 10_000;
/** More rows nobody reads: then a narrower filter or SQL helps. */
export const MOST_ROWS = 100_000;
/** So many stay while new ones come. */
export const MOST_LIVE_ROWS = 5_000;

export class FlowList {
  rows = $state.raw<Flow[]>([]);
  /** Whether there may be older ones that are not here. */
  more = $state(false);
  /** Whether rows were let go since too many came. */
  trimmed = $state(false);
  readonly first = new Asked<Page>();
  readonly older = new Asked<Page>();
  #parameters: Parameters = {};
  #sharing = new Sharing();
  /** New rows that came before the first page. */
  #early: Flow[] = [];
  #loading = false;
  #page = SECOND_PAGE;

  async load(parameters: Parameters): Promise<void> {
    this.older.leave();
    this.#parameters = parameters;
    this.#early = [];
    this.#loading = true;
    this.#page = SECOND_PAGE;
    const page = await this.#ask(this.first, FIRST_PAGE, parameters.until as string | undefined);
    if (!page) return;
    this.#sharing = new Sharing();
    this.#loading = false;
    this.rows = prepended(appended([], this.#shared(page.rows)), this.#early, MOST_LIVE_ROWS);
    this.#early = [];
    this.more = page.rows.length >= FIRST_PAGE;
    this.trimmed = false;
  }

  /** The next page of older rows, if there is one and none is on its way. */
  async loadOlder(): Promise<void> {
    if (!this.more || this.#loading || this.older.running || this.rows.length >= MOST_ROWS) return;
    for (;;) {
      const limit = this.#page;
      const page = await this.#ask(this.older, limit, untilOf(this.rows));
      if (!page) return;
      const rows = appended(this.rows, this.#shared(page.rows)).slice(0, MOST_ROWS);
      const grown = rows.length > this.rows.length;
      this.rows = rows;
      this.more = page.rows.length >= limit;
      this.#page = Math.min(LARGEST_PAGE, limit * 2);
      // A page of nothing but rows of one moment that are here already: a larger one reaches further.
      if (grown || !this.more || limit === LARGEST_PAGE) return;
    }
  }

  /** New rows, at the top. */
  add(newer: Flow[]): void {
    if (this.#loading) {
      this.#early = [...this.#early, ...newer].slice(-MOST_LIVE_ROWS);
      return;
    }
    const before = this.rows.length;
    this.rows = prepended(this.rows, this.#shared(newer), MOST_LIVE_ROWS);
    if (before + newer.length <= MOST_LIVE_ROWS) return;
    this.more = true;
    this.trimmed = true;
  }

  leave(): void {
    this.first.leave();
    this.older.leave();
  }

  async #ask(asked: Asked<Page>, limit: number, until: string | undefined): Promise<Page | null> {
    let mine: Page | null = null;
    await asked.ask(async (signal) => {
      const parameters = { ...this.#parameters, until, limit, order: "desc" };
      mine = whole(await get<Page>("/api/v1/flows", parameters, signal));
      return mine;
    });
    return mine !== null && asked.answer === mine ? mine : null;
  }

  #shared(rows: Flow[]): Flow[] {
    return rows.map((row) => this.#sharing.share(row));
  }
}

/** An answer that broke off after its first rows says so at its end. */
function whole(page: Page): Page {
  const error = page.error as Schemas["Error"]["error"] | undefined;
  if (error) throw new ApiError(error.code, error.status, error.message);
  return page;
}
