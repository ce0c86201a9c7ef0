// How much of a flood is shown: everything is counted, and at most so many rows a second are drawn, spread evenly.

const SECOND_MS = 1_000;

export class Pace {
  #counted = 0;
  #taken = 0;
  #since: number;
  #allowed: number;
  #allowedAt: number;
  /** Rows a second in the last whole second, and those of them that were taken. */
  rate = 0;
  shown = 0;

  constructor(
    private readonly perSecond: number,
    now: number,
  ) {
    this.#since = now;
    this.#allowedAt = now;
    // A burst after silence is shown at once, as far as the rate allows.
    this.#allowed = perSecond;
  }

  /** Counts a row; whether it is to be shown. */
  take(now: number): boolean {
    this.#counted += 1;
    const earned = ((now - this.#allowedAt) / SECOND_MS) * this.perSecond;
    this.#allowed = Math.min(this.perSecond, this.#allowed + earned);
    this.#allowedAt = now;
    if (this.#allowed < 1) return false;
    this.#allowed -= 1;
    this.#taken += 1;
    return true;
  }

  /** Renews `rate` and `shown` if a second is over. */
  read(now: number): void {
    const passed = now - this.#since;
    if (passed < SECOND_MS) return;
    this.rate = Math.round((this.#counted * SECOND_MS) / passed);
    this.shown = Math.round((this.#taken * SECOND_MS) / passed);
    this.#counted = 0;
    this.#taken = 0;
    this.#since = now;
  }
}

/** `3,214/s, showing 200/s`; where all is shown, only the rate. */
export function paceText(rate: number, shown: number): string {
  const exact = (count: number) => count.toLocaleString("en-US");
  return shown < rate ? `${exact(rate)}/s, showing ${exact(shown)}/s` : `${exact(rate)}/s`;
}
