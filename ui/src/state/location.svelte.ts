// The address bar is the state: what is shown follows from the path and the parameters, and whatever
// changes what is shown changes them. Parameters that nobody here knows stay.

export type Changes = Record<string, string | number | undefined>;

class Location {
  path = $state(window.location.pathname);
  #parameters = $state.raw(new URLSearchParams(window.location.search));

  constructor() {
    window.addEventListener("popstate", () => this.#read());
  }

  /** The value of a parameter; empty if there is none. */
  get(name: string): string {
    return this.#parameters.get(name) ?? "";
  }

  /** The address with some parameters changed; `undefined` and "" remove one. */
  with(changes: Changes, path: string = this.path): string {
    const parameters = new URLSearchParams(this.#parameters);
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined || value === "") parameters.delete(name);
      else parameters.set(name, String(value));
    }
    const query = parameters.toString();
    return query === "" ? path : `${path}?${query}`;
  }

  /** Goes there: one step of back and forward for each action of the user. */
  go(address: string): void {
    window.history.pushState(null, "", address);
    this.#read();
  }

  /** Changes parameters as one step. */
  set(changes: Changes): void {
    this.go(this.with(changes));
  }

  /** Changes parameters without a step: for what goes on while the user does nothing. */
  amend(changes: Changes): void {
    window.history.replaceState(null, "", this.with(changes));
    this.#read();
  }

  #read(): void {
    this.path = window.location.pathname;
    this.#parameters = new URLSearchParams(window.location.search);
  }
}

export const location = new Location();
