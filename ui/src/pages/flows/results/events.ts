// Server-sent events, read from a stream of text that comes in pieces.

export interface ServerEvent {
  /** `message` if it has no other name. */
  name: string;
  data: string;
}

/** Takes pieces; tells whole events, and positions as soon as they are known. */
export class EventReader {
  /** Behind which event somebody goes on who comes again. */
  position = "";
  #rest = "";
  #name = "";
  #data: string[] = [];

  constructor(private readonly tell: (event: ServerEvent) => void) {}

  /** Another stream begins: the half event at the end of the one before is nothing. */
  begin(): void {
    this.#rest = "";
    this.#name = "";
    this.#data = [];
  }

  read(piece: string): void {
    const text = this.#rest + piece;
    let from = 0;
    for (;;) {
      const end = text.indexOf("\n", from);
      if (end < 0) break;
      this.#line(text.slice(from, text[end - 1] === "\r" ? Math.max(from, end - 1) : end));
      from = end + 1;
    }
    this.#rest = text.slice(from);
  }

  #line(line: string): void {
    if (line === "") {
      if (this.#data.length > 0) this.tell({ name: this.#name || "message", data: this.#data.join("\n") });
      this.#name = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id") this.position = value;
  }
}
