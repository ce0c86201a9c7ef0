// Texts of policies and labels of pods as they were at a time, by name: only those that are needed.

import { post, type Schemas } from "../../api/client";

export interface PolicyName {
  kind: string;
  namespace: string;
  name: string;
}

/** Most objects that one question names. */
const MOST = 50;
const VALID = "cluster = $1 and valid_from <= $2 and (valid_to is null or valid_to > $2)";

/** Key of a policy in what `policyTexts` answers. */
export function policyKey({ kind, namespace, name }: PolicyName): string {
  return JSON.stringify([kind, namespace, name]);
}

/** Manifests as their authors wrote them. */
export async function policyTexts(
  cluster: string,
  at: string,
  policies: readonly PolicyName[],
  signal?: AbortSignal,
): Promise<Map<string, string>> {
  const names = policies.map(({ kind, namespace, name }) => [kind, namespace, name]);
  const columns = ["kind", "namespace", "name"] as const;
  const rows = await select("policies", "manifest", columns, names, [cluster, at], signal);
  return new Map(rows.map((row) => [policyKey(row as unknown as PolicyName), String(row.manifest)]));
}

/** Labels of pods, each `namespace/name`. */
export async function podLabels(
  cluster: string,
  at: string,
  pods: readonly string[],
  signal?: AbortSignal,
): Promise<Map<string, Record<string, string>>> {
  const names = pods.map((pod) => [pod.slice(0, pod.indexOf("/")), pod.slice(pod.indexOf("/") + 1)]);
  const rows = await select("endpoints", "labels", ["namespace", "name"], names, [cluster, at], signal);
  return new Map(
    rows.map((row) => [`${String(row.namespace)}/${String(row.name)}`, row.labels as Record<string, string>]),
  );
}

async function select(
  table: string,
  column: string,
  key: readonly string[],
  names: string[][],
  first: string[],
  signal?: AbortSignal,
): Promise<Record<string, unknown>[]> {
  if (names.length === 0) return [];
  const parameters = [...first];
  const conditions = names.slice(0, MOST).map((name) => {
    const parts = name.map((value, index) => {
      parameters.push(value);
      return `${key[index]} = $${parameters.length}`;
    });
    return `(${parts.join(" and ")})`;
  });
  const sql = `select ${key.join(", ")}, ${column} from ${table} where ${VALID} and (${conditions.join(" or ")})`;
  const answer = await post<Schemas["Rows"]>("/api/v1/sql", { sql, parameters }, signal);
  return answer.rows;
}
