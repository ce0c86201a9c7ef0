//! Log lines on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins logging. `WEIR_LOG` (for example `info,weir_relay=debug`) wins over `level`.
///
/// # Errors
/// The filter is not valid, or logging has begun already.
pub fn init(
    level: &str,
    format: LogFormat,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let directives = std::env::var("WEIR_LOG").unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| format!("log filter {directives:?} is wrong: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
}
