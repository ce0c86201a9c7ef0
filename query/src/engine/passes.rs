//! How often the engine's logical rules go over a plan.
//!
//! They go over it until nothing changes any more, so at least twice. What changes in later passes is what joins,
//! subqueries and roll-ups left to do: where rows of one table are chosen, grouped, ordered and handed on, the first
//! pass does it all, and another would be a tenth of the time that planning takes.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The plan after the logical rules.
pub(super) fn optimize(state: &mut SessionState, plan: &LogicalPlan) -> Result<LogicalPlan> {
    if !is_of_one_table(plan)? {
        return state.optimize(plan);
    }
    let passes = &mut state.config_mut().options_mut().optimizer.max_passes;
    let all = std::mem::replace(passes, 1);
    let once = state.optimize(plan);
    state.config_mut().options_mut().optimizer.max_passes = all;
    let once = once?;
    // A roll-up stands beside what it does not have.
    if has_branches(&once) { state.optimize(&once) } else { Ok(once) }
}

/// Whether anything in a plan has several inputs.
fn has_branches(plan: &LogicalPlan) -> bool {
    match plan.inputs()[..] {
        [] => false,
        [input] => has_branches(input),
        _ => true,
    }
}

/// Whether a plan only chooses, groups, orders and hands on rows of one table, in that order.
fn is_of_one_table(plan: &LogicalPlan) -> Result<bool> {
    let mut node = plan;
    let mut stage = Stage::Bounded;
    loop {
        stage = match node {
            LogicalPlan::TableScan(_) => return Ok(true),
            _ if has_subquery(node)? => return Ok(false),
            LogicalPlan::Limit(_) if stage == Stage::Bounded => stage,
            LogicalPlan::SubqueryAlias(_) => stage,
            LogicalPlan::Projection(_) if stage < Stage::Chosen => stage.max(Stage::Listed),
            LogicalPlan::Sort(_) if stage < Stage::Ordered => Stage::Ordered,
            LogicalPlan::Aggregate(_) if stage < Stage::Grouped => Stage::Grouped,
            LogicalPlan::Filter(_) => Stage::Chosen,
            _ => return Ok(false),
        };
        let [input] = node.inputs()[..] else { return Ok(false) };
        node = input;
    }
}

/// What a plan does with rows, last first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Bounded,
    Listed,
    Ordered,
    Grouped,
    Chosen,
}

fn has_subquery(node: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
                    | Expr::ScalarSubquery(_)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::physical_plan::displayable;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::access::Principal;
    use crate::catalog::ledger::Ledger;
    use crate::catalog::objects::Objects;
    use crate::catalog::relay::RelayClient;
    use crate::catalog::rollup::tests::quarter_of_an_hour;
    use crate::catalog::snapshot::Snapshots;
    use crate::catalog::source::Source;
    use crate::catalog::store::Store;
    use crate::config::Limits;
    use crate::engine::kept::{KeepAggregates, KeepLatest, Kept};
    use crate::engine::latest::LatestFirst;
    use crate::engine::latest::tests::BY_TIME;
    use crate::engine::session::Sessions;
    use crate::engine::tables::Tables;
    use crate::engine::work::bounded;
    use crate::engine::{Dialect, SqlRequest};
    use crate::guard;
    use crate::metrics::Metrics;

    /// Searches, and others that only choose and order rows.
    const ROWS: [&str; 11] = [
        "select * from flows",
        "select * from flows where verdict = 'deny' and destination_port = 6379 limit 10",
        "select upper(source_pod) as p, bytes from flows where upper(source_pod) like 'P%' and bytes > 1 + 1",
        "select bytes / packets, bytes / packets + 1 from flows where packets > 0 and bytes / packets > 100",
        "select * from flows where 1 = 2",
        "select * from flows where verdict = 'deny' or (verdict = 'deny' and bytes > 5)",
        "select * from flows where not (bytes < 5 and true) limit 0",
        "select x.time from flows x where x.source_pod in ('a', 'b', 'c') order by x.bytes desc limit 3 offset 4",
        "select connection_id, time from flows where connection_id = 7 order by time desc limit 3",
        "select cast(time as bigint) as seen, source_pod from flows where verdict = 'deny' \
         order by time desc, source_pod limit 100",
        "select case when bytes > 5 then 'a' else 'b' end as size from flows \
         where case when bytes > 5 then 'a' else 'b' end = 'a' and time > now() - interval '1 hour'",
    ];

    /// The same, grouped.
    const GROUPS: [&str; 6] = [
        "select count(*) as rows, sum(count), sum(bytes) from flows where destination_ip = '10.0.1.1'",
        "select source_namespace, source_pod, sum(bytes) as sent from flows where source_pod is not null \
         group by 1, 2 order by sent desc, 1, 2 limit 20",
        "select cast(date_trunc('second', time) as bigint) as second, verdict, sum(count), sum(bytes) from flows \
         group by date_trunc('second', time), verdict order by second, verdict",
        "select policy, verdict, sum(count), count(distinct source_pod) from flows group by 1, 2 order by 1, 2",
        "select destination_ip, sum(bytes) as sent from flows where destination_kind = 'world' \
         group by destination_ip order by sent desc, destination_ip limit 20",
        "select upper(source_pod) as p, max(bytes / packets), min(bytes / packets) from flows \
         where bytes / packets > 1 group by 1 order by 2 limit 3",
    ];

    /// Grouped, from roll-ups.
    const ROLLED_UP: [&str; 2] = [
        "select source_workload, destination_workload, destination_port, sum(count) as attempts from flows \
         where verdict = 'deny' group by 1, 2, 3 order by attempts desc, 1, 2, 3 limit 50",
        "select verdict, sum(bytes) from flows where time > timestamp '2026-01-01T00:01:30Z' group by 1",
    ];

    /// What runs, but for the numbers of what is computed once.
    async fn physical(state: &SessionState, plan: &LogicalPlan) -> String {
        let plan = state.query_planner().create_physical_plan(plan, state).await.unwrap();
        let plan = displayable(plan.as_ref()).indent(true).to_string();
        (1..9).fold(plan, |plan, number| {
            plan.replace(&format!("common_expr_{number}"), "common_expr")
        })
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_pass_is_enough() {
        let stand = quarter_of_an_hour().await;
        let shutdown = CancellationToken::new();
        let relay = RelayClient::new(&stand.relay.serve(shutdown.clone())).unwrap();
        let store = Store::open(&stand.store.path().into()).unwrap();
        let kept = Kept::new(0, Metrics::new().kept_counters());
        let sessions = Sessions::new(&Limits::default(), &store, kept).unwrap();
        let environment = sessions.shared().runtime_env().clone();
        let snapshots = Snapshots {
            sources: vec![Source::new(relay, 1 << 20)],
            store,
            objects: Objects::default(),
            ledger: Ledger::default(),
        };
        let tables = Tables::new(&Arc::new(snapshots), &Principal::everyone(), true);
        // Their operators hide what is below them.
        let without = [KeepAggregates::NAME, KeepLatest::NAME, LatestFirst::NAME];
        let mut state = sessions.of(&tables, environment, Dialect::Own, &without).await.unwrap();
        let plan = async |state: &SessionState, sql: &str| {
            let plan = guard::plan(state, &SqlRequest::new(sql)).await.unwrap();
            bounded(plan, 10_000).unwrap()
        };
        let by_time = BY_TIME.into_iter().filter(|sql| !sql.contains("from ("));
        for sql in ROWS.into_iter().chain(by_time).chain(GROUPS).chain(ROLLED_UP) {
            let plan = plan(&state, sql).await;
            assert!(is_of_one_table(&plan).unwrap(), "{sql}");
            let few = optimize(&mut state, &plan).unwrap();
            assert_eq!(has_branches(&few), ROLLED_UP.contains(&sql), "{sql}");
            let all = state.optimize(&plan).unwrap();
            assert_eq!(physical(&state, &few).await, physical(&state, &all).await, "{sql}");
        }
        for sql in [
            "select distinct source_pod from flows where bytes > 5",
            "select f.time from flows f join flows g on f.time = g.time",
            "select time from flows union all select time from flows",
            "select time from flows where bytes = (select max(bytes) from flows)",
            "select time from flows where bytes in (select bytes from flows)",
            "select row_number() over (order by time) from flows",
            "select a from (select bytes * 2 as a from flows order by time limit 50) where a > 7",
            "select * from (select * from (select * from flows limit 100) where bytes > 5) order by time",
            "select p from (select upper(source_pod) as p from flows) where p like 'A%'",
            "select verdict, count(*) from flows group by 1 having count(*) > 5",
            "select max(n) from (select verdict, count(*) as n from flows group by 1)",
            "select 1",
        ] {
            assert!(!is_of_one_table(&plan(&state, sql).await).unwrap(), "{sql}");
        }
        shutdown.cancel();
    }
}
