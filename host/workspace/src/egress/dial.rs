//! The [`Dialer`] of a workspace.

use std::sync::Arc;

use async_trait::async_trait;
use sortie_core::action::NetworkConnect;
use sortie_policy::ports::{Dialer, ErrorCode, PortError};
use sortie_policy::{Permit, Seal};
use tokio::net::TcpStream;

use super::reach::Reach;
use super::target::Target;

/// Connects to what a permit names, as far as the task's [`Reach`] goes.
pub struct AddressDialer {
    seal: Seal,
    reach: Arc<Reach>,
}

impl AddressDialer {
    /// A dialer for permits that bear this seal.
    pub fn new(seal: Seal, reach: Arc<Reach>) -> Self {
        Self { seal, reach }
    }
}

#[async_trait]
impl Dialer for AddressDialer {
    async fn connect(&self, permit: Permit<NetworkConnect>) -> Result<TcpStream, PortError> {
        let connect = permit.redeem(self.seal)?;
        let target = Target::new(&connect.host, connect.port)
            .map_err(|error| PortError::new(ErrorCode::Invalid, error.to_string()))?;
        self.reach.connect(&target).await
    }
}
