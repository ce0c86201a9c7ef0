// Keys. Whoever is on the screen says which keys it takes; `?` lists those that are taken now.

import { untrack } from "svelte";

interface Shortcut {
  /** As `j`, `Shift+F`, `g g`, `Escape`. */
  keys: string;
  does: string;
  run: () => void;
}

const LONGEST_PAUSE_MS = 1_000;

class Shortcuts {
  taken = $state.raw<Shortcut[]>([]);
  #before = { key: "", at: 0 };

  /** Takes keys until the returned function is called; later ones win. */
  take(shortcuts: Shortcut[]): () => void {
    // An effect that takes keys does not depend on which ones others take.
    this.taken = [...untrack(() => this.taken), ...shortcuts];
    return () => (this.taken = this.taken.filter((shortcut) => !shortcuts.includes(shortcut)));
  }

  /** For the window's `keydown`. */
  press(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    // While a dialog is open, keys are its own: Escape closes it and nothing behind it.
    if (document.querySelector("dialog[open]")) return;
    // Seen from here, a key in a shadow root has the root's host as its target.
    if (event.key !== "Escape" && isTyping(event.composedPath()[0] ?? event.target)) return;
    const key = event.shiftKey && /^[A-Z]$/.test(event.key) ? `Shift+${event.key}` : event.key;
    const now = Date.now();
    const two = now - this.#before.at < LONGEST_PAUSE_MS ? `${this.#before.key} ${key}` : "";
    const found =
      this.taken.findLast(({ keys }) => keys === two) ?? this.taken.findLast(({ keys }) => keys === key);
    this.#before = found ? { key: "", at: 0 } : { key, at: now };
    if (!found) return;
    event.preventDefault();
    found.run();
  }
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target instanceof HTMLTextAreaElement ||
      target instanceof HTMLSelectElement ||
      (target instanceof HTMLInputElement && !["checkbox", "radio", "button"].includes(target.type)))
  );
}

export const shortcuts = new Shortcuts();
