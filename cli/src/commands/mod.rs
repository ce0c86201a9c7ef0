//! One module a subcommand.

mod bench;
mod collector;
mod demo;
mod executor;
mod interval;
mod observe;
mod policy;
mod process;
mod query;
mod relay;
mod scheduler;
mod sql;
mod status;
mod store;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

/// What `weir` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the founding tutorial on a cluster of network namespaces, with the real parts.
    Demo(demo::Demo),
    /// Run the node agent: enforce, and report to a relay.
    Collector(collector::CollectorCommand),
    /// Run the relay: take flows from collectors and store them.
    Relay(relay::RelayCommand),
    /// Run the query service: SQL and HTTP.
    Query(Box<query::QueryCommand>),
    /// Run the scheduler of distributed queries.
    Scheduler(scheduler::SchedulerCommand),
    /// Run an executor of distributed queries.
    Executor(Box<executor::ExecutorCommand>),
    /// Print flows, newest last, and follow new ones.
    Observe(observe::Observe),
    /// Ask the flow store in SQL.
    Sql(sql::Sql),
    /// Say how the relay, the collectors and enforcement are.
    Status(status::Status),
    /// How often it is reported what connections did: what it costs, and switching it.
    #[command(subcommand)]
    Interval(interval::IntervalCommand),
    /// Work with policies.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Work on a store.
    #[command(subcommand)]
    Store(store::Store),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Bench),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(demo) => block_on(demo.run()),
            Self::Collector(collector) => block_on(collector.run()),
            Self::Relay(relay) => block_on(relay.run()),
            Self::Query(query) => block_on(query.run()),
            Self::Scheduler(scheduler) => block_on(scheduler.run()),
            Self::Executor(executor) => block_on(executor.run()),
            Self::Observe(observe) => block_on(observe.run()),
            Self::Sql(sql) => block_on(sql.run()),
            Self::Status(status) => block_on(status.run()),
            Self::Interval(interval) => block_on(interval.run()),
            Self::Store(store) => block_on(store.run()),
            Self::Bench(bench) => block_on(bench.run()),
            Self::Policy(policy) => policy.run(),
        }
    }
}

/// Stack of the threads. Schedulers and executors read plans there, which recurses over operators.
const STACK_BYTES: usize = 16 << 20;

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(future)
}
