// What part of the flows is looked at: the same on every page, and all of it in the address.

import { and, oneOf } from "../filter/edit";
import { location, type Changes } from "./location.svelte";

export const VERDICTS = ["deny", "audit", "allow"] as const;
export type VerdictName = (typeof VERDICTS)[number];

/** What one comes for: what was denied, and what would have been. */
const DEFAULT_VERDICTS: VerdictName[] = ["deny", "audit"];
const DEFAULT_SINCE = "1h";

function known(verdicts: string): VerdictName[] {
  const named = verdicts.split(",");
  const found = VERDICTS.filter((verdict) => named.includes(verdict));
  return found.length === 0 ? DEFAULT_VERDICTS : found;
}

class View {
  /** Counts up when the same question is to be asked again. */
  revision = $state(0);

  // The address changes for many reasons: who reads a part of it here is told of changes of that part alone.
  readonly #filter = $derived(location.get("filter"));
  readonly #named = $derived(location.get("verdicts"));
  readonly #verdicts = $derived(known(this.#named));
  readonly #since = $derived(location.get("since") || DEFAULT_SINCE);
  readonly #until = $derived(location.get("until"));

  /** What somebody typed or clicked together, in the Cloud Logging language. */
  get filter(): string {
    return this.#filter;
  }

  get verdicts(): VerdictName[] {
    return this.#verdicts;
  }

  /** What the address says and nobody knows. */
  get unknown(): string[] {
    const named = this.#named.split(",");
    const others = named.filter((name) => name !== "" && !VERDICTS.some((verdict) => verdict === name));
    return others.map((name) => `verdicts=${name}`);
  }

  /** `1h`, `7d` ago, or RFC 3339. */
  get since(): string {
    return this.#since;
  }

  /** RFC 3339; empty is now. */
  get until(): string {
    return this.#until;
  }

  /** The filter to ask with: text and verdicts. */
  get query(): string {
    return this.queryOf(this.filter);
  }

  /** Likewise, of another text. */
  queryOf(filter: string): string {
    const all = this.verdicts.length === VERDICTS.length;
    return all ? filter : and(filter, oneOf("verdict", this.verdicts));
  }

  /** What every call about flows is asked with. */
  get parameters(): { filter: string; since: string; until: string | undefined } {
    return { filter: this.query, since: this.since, until: this.until || undefined };
  }

  setFilter(filter: string): void {
    location.set({ filter, selected: undefined });
  }

  setVerdicts(verdicts: readonly VerdictName[]): void {
    const asDefault =
      DEFAULT_VERDICTS.every((verdict) => verdicts.includes(verdict)) && verdicts.length === 2;
    location.set({ verdicts: asDefault ? undefined : verdicts.join(","), selected: undefined });
  }

  /** A time relative to now, or from one moment to another. */
  setRange(since: string, until = ""): void {
    location.set({ since: since === DEFAULT_SINCE ? undefined : since, until, selected: undefined });
  }

  /** The address of another page or filter, with the rest as it is. */
  link(path: string, changes: Changes = {}): string {
    return location.with({ selected: undefined, tab: undefined, ...changes }, path);
  }

  again(): void {
    this.revision += 1;
  }
}

export const view = new View();
