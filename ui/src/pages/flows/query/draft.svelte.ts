// The filter as it is being typed. It becomes the question with Enter, or with a click on a chip.

import { post, type Schemas } from "../../../api/client";
import { Asked } from "../../../state/asked.svelte";
import { view } from "../../../state/view.svelte";

type Answer = Schemas["FilterAnswer"];

const PAUSE_MS = 120;

class Draft {
  #text = $state(view.filter);
  readonly #check = new Asked<{ text: string; answer: Answer }>();
  #timer = 0;

  get text(): string {
    return this.#text;
  }

  set text(text: string) {
    if (text === this.#text) return;
    this.#text = text;
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.check(), PAUSE_MS);
  }

  /** What the service says of the text; nothing as long as it has not answered. */
  get checked(): Answer | undefined {
    const last = this.#check.answer;
    return last?.text === this.#text ? last.answer : undefined;
  }

  get isApplied(): boolean {
    return this.#text.trim() === view.filter.trim();
  }

  async check(): Promise<void> {
    window.clearTimeout(this.#timer);
    const text = this.#text;
    await this.#check.ask(async (signal) => {
      return { text, answer: await post<Answer>("/api/v1/filter", { filter: text }, signal) };
    });
  }

  /** Asks for what is typed, unless the service cannot read it. */
  async apply(): Promise<void> {
    const text = this.#text;
    if (!this.checked) await this.check();
    // Typed on meanwhile.
    if (this.#text !== text) return;
    if (this.checked?.ok === false) return;
    if (this.isApplied) view.again();
    else view.setFilter(text.trim());
  }

  /** Another text, and asks for it. */
  change(text: string): void {
    this.text = text;
    view.setFilter(text.trim());
  }

  /** The filter that is asked for now. */
  take(filter: string): void {
    if (filter !== this.#text.trim()) this.#text = filter;
    void this.check();
  }

  revert(): void {
    this.take(view.filter);
  }
}

export const draft = new Draft();
