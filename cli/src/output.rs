//! What commands print for somebody to read or another program to take.

use std::io::{ErrorKind, Write as _};

/// What a shell reports of a program that SIGPIPE has ended.
const READER_GONE: i32 = 141;

/// Like `println!`, with [`written`]'s ends.
macro_rules! say {
    ($($part:tt)*) => {{
        use ::std::io::Write as _;
        $crate::output::written(writeln!(::std::io::stdout(), $($part)*))
    }};
}
pub(crate) use say;

/// Text that has its line ends, with [`written`]'s ends.
pub(crate) fn print(text: &str) {
    written(std::io::stdout().write_all(text.as_bytes()));
}

/// Ends the process if standard output takes no more: without a word where its reader has what it
/// wanted, as `head` has.
pub(crate) fn written(result: std::io::Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(READER_GONE),
        Err(error) => {
            eprintln!("weir: cannot write to standard output: {error}");
            std::process::exit(1);
        }
    }
}
