// One question to the service: the newest one counts, older ones are aborted and their answers never shown.

const SLOW_MS = 1_000;

export class Asked<T> {
  /** The last answer; it stays while the next one is on its way. */
  answer = $state.raw<T | null>(null);
  /** When it came, in milliseconds since 1970. */
  at = $state(0);
  /** Why the last question was not answered; null if it was. */
  problem = $state.raw<unknown>(null);
  running = $state(false);
  /** Whether it runs for longer than people wait without a word. */
  slow = $state(false);
  #asking: AbortController | null = null;
  #timer = 0;

  /** Asks instead of whatever was asked before. */
  async ask(call: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.#end();
    const asking = new AbortController();
    this.#asking = asking;
    this.running = true;
    this.#timer = window.setTimeout(() => (this.slow = true), SLOW_MS);
    try {
      const answer = await call(asking.signal);
      if (this.#asking !== asking) return;
      this.answer = answer;
      this.at = Date.now();
      this.problem = null;
    } catch (error) {
      if (this.#asking !== asking) return;
      this.problem = error;
    }
    this.#end();
  }

  /** Ends what runs; the answer before stays. */
  cancel(): void {
    if (!this.running) return;
    this.#end();
    this.problem = new Error("Cancelled.");
  }

  /** Ends what runs, without a word: nobody looks any more. */
  leave(): void {
    this.#end();
  }

  #end(): void {
    this.#asking?.abort();
    this.#asking = null;
    window.clearTimeout(this.#timer);
    this.running = false;
    this.slow = false;
  }
}
