// What the address asks: who wants to reach whom. All of it is in the address, so that a link asks again.

import type { Asked } from "../../api/explanation";

export const PROTOCOLS = ["TCP", "UDP", "SCTP"] as const;

/** As typed, and as the address has it. */
export interface Fields {
  from: string;
  to: string;
  port: string;
  /** Empty is TCP. */
  protocol: string;
  /** `10m` ago or RFC 3339; empty is now. */
  at: string;
  /** Empty where there is only one. */
  cluster: string;
}

export const NAMES = ["from", "to", "port", "protocol", "at", "cluster"] as const satisfies (keyof Fields)[];

export type Problems = Partial<Record<keyof Fields, string>>;

/** What is wrong, field by field; what only the service knows, it says itself. */
export function problems(fields: Fields): Problems {
  const found: Problems = {};
  const port = fields.port.trim();
  if (port !== "" && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) {
    found.port = "a port is a number from 1 to 65535";
  }
  for (const end of ["from", "to"] as const) {
    const text = fields[end].trim();
    if (text !== "" && !text.includes("/") && !/^[0-9a-fA-F.:]+$/.test(text)) {
      found[end] = "write namespace/name, or an address";
    }
  }
  if (fields.protocol !== "" && !PROTOCOLS.some((known) => known === fields.protocol.toUpperCase())) {
    found.protocol = "write TCP, UDP or SCTP";
  }
  return found;
}

/** Null while something is missing or wrong. */
export function asked(fields: Fields): Asked | null {
  const [from, to, port] = [fields.from.trim(), fields.to.trim(), fields.port.trim()];
  if (from === "" || to === "" || port === "" || Object.keys(problems(fields)).length > 0) return null;
  return {
    from,
    to,
    port: Number(port),
    protocol: fields.protocol || undefined,
    at: fields.at || undefined,
    cluster: fields.cluster || undefined,
  };
}
