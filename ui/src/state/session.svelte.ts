// Who is signed in. The token is in a cookie that no script reads.

import { get, post, send, unauthenticated, type Schemas } from "../api/client";

type Who = Schemas["Session"];

class Session {
  /** Not known until the service has answered. */
  who = $state.raw<Who | null>(null);
  /** Whether somebody has to sign in before anything is shown. */
  refused = $state(false);

  constructor() {
    unauthenticated.tell = () => {
      this.who = null;
      this.refused = true;
    };
    void this.#ask();
  }

  /** @throws {ApiError} The token is nobody's. */
  async begin(token: string): Promise<void> {
    this.who = await post<Who>("/api/v1/session", { token });
    this.refused = false;
  }

  async end(): Promise<void> {
    await send("/api/v1/session", { method: "DELETE" });
    this.who = null;
    this.refused = true;
  }

  async #ask(): Promise<void> {
    try {
      this.who = await get<Who>("/api/v1/session");
    } catch {
      // Refused is told to the shell; what else is wrong, each page says of itself.
    }
  }
}

export const session = new Session();
