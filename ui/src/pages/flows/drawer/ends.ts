// What both ends saw of one connection: its rows by where they were observed, with counters summed.

import type { Flow } from "../flow";

export interface End {
  direction: string;
  node: string;
  /** As of the last row. */
  verdict: string;
  reason: string;
  policy: string;
  state: string;
  rows: number;
  count: number;
  packets: number;
  bytes: number;
  reply_packets: number;
  reply_bytes: number;
  /** The first that is known. */
  rtt_ns: number | null;
  /** The longest that is known. */
  duration_ns: number | null;
  tcp_flags: number | null;
  first: string;
  last: string;
}

/** Source first. */
export function endsOf(rows: readonly Flow[]): End[] {
  const ends = new Map<string, End>();
  for (const row of [...rows].sort((a, b) => (a.time < b.time ? -1 : 1))) {
    const key = JSON.stringify([row.direction, row.cluster, row.node]);
    const end = ends.get(key);
    if (!end) {
      ends.set(key, { ...only(row), rows: 1, first: row.time, last: row.end_time });
      continue;
    }
    const { verdict, reason, policy, state } = row;
    Object.assign(end, { verdict, reason, policy, state });
    end.rows += 1;
    end.count += row.count;
    end.packets += row.packets;
    end.bytes += row.bytes;
    end.reply_packets += row.reply_packets;
    end.reply_bytes += row.reply_bytes;
    end.rtt_ns ??= row.rtt_ns;
    if (row.duration_ns !== null) end.duration_ns = Math.max(end.duration_ns ?? 0, row.duration_ns);
    if (row.tcp_flags !== null) end.tcp_flags = (end.tcp_flags ?? 0) | row.tcp_flags;
    if (row.end_time > end.last) end.last = row.end_time;
  }
  return [...ends.values()].sort((a, b) => a.direction.localeCompare(b.direction));
}

/** Why an end has nothing to say; empty if both do, or nobody knows. */
export function missingEnd(flow: Flow, ends: readonly End[]): string {
  const saw = (direction: string) => ends.some((end) => end.direction === direction);
  if (!saw("egress")) {
    if (flow.source_kind !== "pod") return "The source is no pod, so no program of Weir saw it leave.";
    return "No row of the source is between these addresses meanwhile: it may have dialled a Service, or its node has not reported.";
  }
  if (saw("ingress")) return "";
  if (ends.some((end) => end.direction === "egress" && end.verdict === "deny")) {
    return "It was dropped at its source, so the destination never saw it.";
  }
  if (flow.destination_kind !== "pod")
    return "The destination is no pod, so no program of Weir saw it arrive.";
  return "The destination's node reported nothing of it: it did not arrive, or its rows are still on their way.";
}

const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/** `SYN, ACK`. */
export function flagsText(bits: number | null): string {
  return FLAGS.filter((_, bit) => ((bits ?? 0) >> bit) & 1).join(", ");
}

function only(row: Flow): Omit<End, "rows" | "first" | "last"> {
  const { direction, node, verdict, reason, policy, state, count, packets, bytes } = row;
  const { reply_packets, reply_bytes, rtt_ns, duration_ns, tcp_flags } = row;
  const counters = { count, packets, bytes, reply_packets, reply_bytes, rtt_ns, duration_ns, tcp_flags };
  return { direction, node, verdict, reason, policy, state, ...counters };
}
