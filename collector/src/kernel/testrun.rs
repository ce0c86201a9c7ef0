//! Runs a program on a packet made up for it, for tests and benchmarks.

use std::time::Duration;

use aya::TestRun as _;

use super::{Datapath, KernelError, error::chain};

/// The programs in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Sees what the pod sends.
    FromPod,
    /// Sees what the pod gets.
    ToPod,
    /// Does nothing: what a program costs at least. For benchmarks.
    Empty,
    /// [`Program::FromPod`] after adding one to the port at the packet's [`Frame::mark`]. For
    /// benchmarks.
    Fresh,
}

/// An Ethernet frame to run a program on, and what the kernel knows of it besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame<'a> {
    /// The frame.
    pub bytes: &'a [u8],
    /// It stands for so many segments. 0: it is what it is, or the program has to work it out.
    pub gso_segments: u32,
    /// Of so many bytes. 0: it is no GSO packet.
    pub gso_size: u32,
    /// The packet's mark.
    pub mark: u32,
}

impl Program {
    /// Those that are attached to interfaces.
    pub(super) const ATTACHED: [Self; 2] = [Self::ToPod, Self::FromPod];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::Empty => "empty",
            Self::Fresh => "fresh",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct TestRun {
    /// The packet may go on.
    pub passed: bool,
    /// Mean of all repetitions.
    pub duration: Duration,
}

impl Datapath {
    /// Runs a program `repeat` times on a frame that came in by interface 1, the loopback
    /// interface of the calling thread's network namespace.
    pub fn test_run(
        &mut self,
        program: Program,
        frame: Frame<'_>,
        repeat: u32,
    ) -> Result<TestRun, KernelError> {
        let context = Context::new(frame);
        let classifier = self.classifier(program)?;
        let mut options = aya::TestRunOptions::new();
        options.data_in = Some(frame.bytes);
        options.ctx_in = Some(&context.0);
        options.repeat = repeat;
        let result = classifier.test_run(options).map_err(|error| KernelError::TestRun {
            program: program.name(),
            source: std::io::Error::other(chain(&error)),
        })?;
        // `TC_ACT_SHOT` is these programs' only way to drop.
        Ok(TestRun { passed: result.return_value != 2, duration: result.duration })
    }
}

impl Datapath {
    /// How many instructions the verifier went through for a program; it gives up at a million.
    /// None where the kernel does not tell (before Linux 5.16).
    pub fn verified_instructions(&mut self, program: Program) -> Result<Option<u32>, KernelError> {
        let info = self.classifier(program)?.info();
        let info = info.map_err(|error| KernelError::Object(chain(&error)))?;
        Ok(info.verified_instruction_count())
    }
}

/// `struct __sk_buff` as `BPF_PROG_TEST_RUN` takes it.
struct Context([u8; 192]);

/// Where the fields lie in it.
const MARK: usize = 8;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

impl Context {
    fn new(frame: Frame<'_>) -> Self {
        let mut bytes = [0; 192];
        for (offset, value) in
            [(MARK, frame.mark), (GSO_SEGS, frame.gso_segments), (GSO_SIZE, frame.gso_size)]
        {
            bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        }
        Self(bytes)
    }
}
