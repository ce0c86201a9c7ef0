// The state of the service, asked for again and again while the page is looked at.

import { ApiError, get, type Schemas } from "../api/client";
import { session } from "./session.svelte";

export type Status = Schemas["Status"];

const EVERY_MS = 5_000;

class Watched {
  latest = $state.raw<Status | null>(null);
  /** When `latest` was true, in milliseconds since 1970. */
  at = $state(0);
  /** Why there was no answer, if there was none. */
  unreachable = $state("");

  async ask(): Promise<void> {
    if (document.visibilityState === "hidden" || session.refused) return;
    try {
      this.latest = await get<Status>("/api/v1/status");
      this.at = Date.now();
      this.unreachable = "";
    } catch (error) {
      if (error instanceof ApiError && error.code === 401) return;
      this.unreachable = error instanceof Error ? error.message : String(error);
    }
  }
}

const watched = new Watched();

/** For a component: asks while it is on the page. */
export function watchStatus(): Watched {
  $effect(() => {
    void watched.ask();
    const timer = window.setInterval(() => void watched.ask(), EVERY_MS);
    return () => window.clearInterval(timer);
  });
  return watched;
}
