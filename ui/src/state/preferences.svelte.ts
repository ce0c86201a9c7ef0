// What somebody likes, kept in the browser: theme, time zone. Not part of a shared link, except the zone.

import { location } from "./location.svelte";

type Theme = "system" | "light" | "dark";

function kept(name: string): string | null {
  try {
    return window.localStorage.getItem(`weir.${name}`);
  } catch {
    // Storage may be forbidden.
    return null;
  }
}

/** Keeps a text for the next visit, where the browser allows it. */
export function keep(name: string, value: string): void {
  try {
    window.localStorage.setItem(`weir.${name}`, value);
  } catch {
    // Then it is for this visit only.
  }
}

/** What was kept under a name. */
export const recall = kept;

class Preferences {
  theme = $state<Theme>((kept("theme") as Theme | null) ?? "system");
  #utc = $state(kept("zone") === "utc");

  constructor() {
    this.#apply();
  }

  /** Whether times are shown in UTC; a link decides before the browser does. */
  get utc(): boolean {
    const named = location.get("tz");
    return named === "" ? this.#utc : named === "utc";
  }

  setUtc(utc: boolean): void {
    this.#utc = utc;
    keep("zone", utc ? "utc" : "local");
    location.amend({ tz: utc ? "utc" : undefined });
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    keep("theme", theme);
    this.#apply();
  }

  #apply(): void {
    if (this.theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }
}

export const preferences = new Preferences();
