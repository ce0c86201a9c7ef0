// One row of `flows`, as the API answers it (docs/SCHEMA.md), and one of its groups.

import type { Schemas } from "../../api/client";

export interface PolicyRule {
  kind: string;
  namespace: string;
  name: string;
  /** Of its rules, from 0; null where the policy as a whole decided. */
  rule: number | null;
}

export type Labels = Record<string, string>;

export interface Flow {
  /** RFC 3339 in UTC with nanoseconds: as texts in order as they are in time. */
  time: string;
  end_time: string;
  cluster: string;
  node: string;
  direction: string;
  verdict: string;
  reason: string;
  policies: PolicyRule[];
  policy: string;
  policy_revision: number;
  protocol: string;
  source_ip: string;
  source_port: number | null;
  destination_ip: string;
  destination_port: number | null;
  tcp_flags: number | null;
  icmp_type: number | null;
  icmp_code: number | null;
  source_kind: string;
  source_namespace: string | null;
  source_pod: string | null;
  source_workload_kind: string | null;
  source_workload: string | null;
  source_labels: Labels;
  source_node: string | null;
  source_names: string[];
  destination_kind: string;
  destination_namespace: string | null;
  destination_pod: string | null;
  destination_workload_kind: string | null;
  destination_workload: string | null;
  destination_labels: Labels;
  destination_node: string | null;
  destination_names: string[];
  destination_service: string | null;
  count: number;
  packets: number;
  bytes: number;
  reply_packets: number;
  reply_bytes: number;
  duration_ns: number | null;
  rtt_ns: number | null;
  state: string;
  connection_id: string | null;
}

export type Group = Schemas["Groups"]["groups"][number];
