//! The kernel as the enforcer uses it; the seam for tests without one.

use crate::kernel::{Datapath, KernelError, KernelMaps, MapContents};

/// The kernel as the enforcer uses it; the seam for tests without one.
pub trait Kernel: KernelMaps {
    /// Attaches the programs to an interface.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses.
    fn attach(&mut self, ifindex: u32) -> Result<(), KernelError>;
    /// Detaches the programs.
    ///
    /// # Errors
    /// The kernel refuses.
    fn detach(&mut self, ifindex: u32) -> Result<(), KernelError>;
    /// Returns once no packet is being judged by what was in the maps before the call.
    fn settle(&mut self);
    /// Interfaces with programs: attached here, or pinned by a process before.
    ///
    /// # Errors
    /// The kernel does not say.
    fn attached(&self) -> Result<Vec<u32>, KernelError> {
        Ok(Vec::new())
    }
    /// A name for the maps that no others have. None: they go with the process.
    ///
    /// # Errors
    /// The kernel does not say.
    fn name(&self) -> Result<Option<String>, KernelError> {
        Ok(None)
    }
    /// What a process before has left in the maps, if it was in force.
    ///
    /// # Errors
    /// The maps cannot be read.
    fn left(&self) -> Result<Option<MapContents>, KernelError> {
        Ok(None)
    }
    /// Puts this process's programs in the places of those that use the same maps.
    ///
    /// # Errors
    /// The kernel refuses.
    fn take_over(&mut self) -> Result<(), KernelError> {
        Ok(())
    }
    /// All that is wanted is in force: what a process before has left besides may go.
    ///
    /// # Errors
    /// It cannot be removed.
    fn commit(&mut self) -> Result<(), KernelError> {
        Ok(())
    }
}

impl Kernel for Datapath {
    fn attach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        Datapath::attach(self, ifindex)
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        Datapath::detach(self, ifindex)
    }

    fn settle(&mut self) {
        // This form waits for a grace period of RCU, within which the programs run. Where it is
        // switched off (nohz_full) a pause far longer than any program's run has to do.
        if rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    fn attached(&self) -> Result<Vec<u32>, KernelError> {
        Datapath::attached(self)
    }

    fn name(&self) -> Result<Option<String>, KernelError> {
        self.maps_name()
    }

    fn left(&self) -> Result<Option<MapContents>, KernelError> {
        self.adopted().then(|| self.contents()).transpose()
    }

    fn take_over(&mut self) -> Result<(), KernelError> {
        Datapath::take_over(self)
    }

    fn commit(&mut self) -> Result<(), KernelError> {
        Datapath::commit(self)
    }
}
